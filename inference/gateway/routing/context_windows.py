"""Context windows of known models, from litellm's table, read without importing litellm."""

import re
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from inference.gateway.routing.targets import Target

_TABLE = "model_prices_and_context_window_backup.json"

_WINDOW = re.compile(rb'^ {0,4}"([^"\\]+)": \{$|^ {8}"max_input_tokens": (\d+),?$', re.MULTILINE)
"""The first line of a model's entry, or the line of its window."""


def context_windows() -> dict[str, int]:
    """Return the tokens of each model by its provider's name, empty without litellm's table.

    The table of 3 MB is searched, not parsed: its objects would take 10 MB, of which little is freed.
    """
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    try:
        table = (Path(spec.origin).parent / _TABLE).read_bytes()
    except OSError:
        return {}
    windows: dict[str, int] = {}
    name = ""
    for line in _WINDOW.finditer(table):
        if line[1] is not None:
            name = line[1].decode()
        else:
            windows[name] = int(line[2])
    return windows


class ContextWindows:
    """The context windows of deployments, by their routes or litellm's table."""

    @cached_property
    def _table(self) -> dict[str, int]:
        return context_windows()

    def smallest(self, targets: Sequence[Target]) -> int | None:
        """Return the tokens of the smallest of these deployments' windows; None if none is known."""
        return min((window for target in targets if (window := self._of(target)) is not None), default=None)

    def _of(self, target: Target) -> int | None:
        if target.context_window is not None:
            return target.context_window
        return self._table.get(target.model) or self._table.get(target.model.rpartition("/")[2])
