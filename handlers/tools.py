"""The tools of an assistant or a run, as far as the editions' schemas do not say what is allowed."""

import re

from handlers.context import JSON
from handlers.errors import BadRequest

FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def checked_tools(tools: list[JSON], param: str = "tools") -> list[JSON]:
    """The tools; BadRequest for a function whose name no model could call."""
    for index, tool in enumerate(tools):
        if tool["type"] == "function" and not FUNCTION_NAME.fullmatch(tool["function"]["name"]):
            field = f"{param}[{index}].function.name"
            raise BadRequest(
                f"Invalid '{field}': string does not match pattern. Expected a string that matches the "
                "pattern '^[a-zA-Z0-9_-]{1,64}$'.",
                param=field,
                code="invalid_value",
            )
    return tools
