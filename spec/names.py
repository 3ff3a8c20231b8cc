"""The Python names of operations and parameters."""

import re
from collections.abc import Mapping
from types import MappingProxyType

RENAMES: Mapping[str, str] = MappingProxyType(
    {
        # Upstream's typo, in every edition.
        "submitToolOuputsToRun": "submit_tool_outputs_to_run",
    }
)
"""operationId → name, where the rule gives a bad name or editions disagree."""

_NOT_A_NAME = re.compile(r"[^0-9A-Za-z]+")
_ACRONYM = re.compile(r"([A-Z]+)([A-Z][a-z])")
_WORD = re.compile(r"([a-z0-9])([A-Z])")


def python_name(operation_id: str) -> str:
    """Return the snake_case name: `createThreadAndRun` and `create-thread-and-run` are the same."""
    if operation_id in RENAMES:
        return RENAMES[operation_id]
    name = _NOT_A_NAME.sub("_", operation_id)
    name = _WORD.sub(r"\1_\2", _ACRONYM.sub(r"\1_\2", name))
    return name.strip("_").lower()


def argument_name(parameter: str) -> str:
    """Return a parameter's keyword: `include[]` is `include`."""
    return _NOT_A_NAME.sub("_", parameter.removesuffix("[]")).strip("_")
