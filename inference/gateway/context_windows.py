"""Context windows of known models, from litellm's table, read without importing litellm."""

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import orjson

from inference.gateway.targets import Target

_TABLE = "model_prices_and_context_window_backup.json"


def context_windows() -> dict[str, int]:
    """Return the tokens of each model by its provider's name, empty without litellm's table. Takes 20 ms."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    try:
        table = orjson.loads((Path(spec.origin).parent / _TABLE).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    windows = ((name, entry.get("max_input_tokens")) for name, entry in table.items())
    return {name: tokens for name, tokens in windows if isinstance(tokens, int)}


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
