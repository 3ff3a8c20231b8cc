"""The Python names of operations and parameters."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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


def restore_schema_name(body: Any) -> None:
    """Rename `response_format.json_schema.schema_` to `schema`, in place.

    The Python SDK's objects call it so, and their `model_dump()` writes the name of the attribute.
    """
    response_format = body.get("response_format") if isinstance(body, dict) else None
    schema = response_format.get("json_schema") if isinstance(response_format, dict) else None
    if isinstance(schema, dict) and "schema_" in schema and "schema" not in schema:
        schema["schema"] = schema.pop("schema_")
