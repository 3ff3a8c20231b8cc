"""What litellm's table says of models, read without importing litellm."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from inference.gateway.routing.targets import Target

_TABLE = "model_prices_and_context_window_backup.json"

_LINE = re.compile(
    rb'^ {0,4}"([^"\\]+)": \{$|^ {8}"max_input_tokens": (\d+),?$|^ {8}"supports_vision": (true),?$',
    re.MULTILINE,
)
"""The first line of a model's entry, or a line of it that is wanted."""


class Known(NamedTuple):
    """The context windows of models, in tokens, and the models that read images; by the provider's names."""

    windows: dict[str, int]
    image_readers: frozenset[str]


@cache
def known_models() -> Known:
    """Return what the table says, nothing without litellm. The first call takes 40 ms.

    The table of 3 MB is searched, not parsed: its objects would take 10 MB, of which little is freed.
    """
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return Known({}, frozenset())
    try:
        table = (Path(spec.origin).parent / _TABLE).read_bytes()
    except OSError:
        return Known({}, frozenset())
    windows: dict[str, int] = {}
    readers: set[str] = set()
    name = ""
    for line in _LINE.finditer(table):
        if line[1] is not None:
            name = line[1].decode()
        elif line[2] is not None:
            windows[name] = int(line[2])
        else:
            readers.add(name)
    return Known(windows, frozenset(readers))


class KnownModels:
    """What is known of deployments' models, by their routes or litellm's table."""

    def smallest_window(self, targets: Sequence[Target]) -> int | None:
        """Return the tokens of the smallest of these deployments' windows; None if none is known."""
        return min(
            (window for target in targets if (window := self._window(target)) is not None), default=None
        )

    def read_images(self, targets: Sequence[Target]) -> bool:
        """Return whether all of these deployments are known to read images."""
        return bool(targets) and all(map(self._reads_images, targets))

    def _window(self, target: Target) -> int | None:
        if target.context_window is not None:
            return target.context_window
        windows = known_models().windows
        return next((windows[name] for name in _names(target) if name in windows), None)

    def _reads_images(self, target: Target) -> bool:
        if target.reads_images is not None:
            return target.reads_images
        return any(name in known_models().image_readers for name in _names(target))


def _names(target: Target) -> tuple[str, str]:
    return target.model, target.model.rpartition("/")[2]
