"""Defaults of assistants, threads and runs that OpenAI's service fills in."""

from persistence.types import JSON

ASSISTANT: JSON = {
    "name": None,
    "description": None,
    "instructions": None,
    "reasoning_effort": None,
    "tools": [],
    "tool_resources": {},
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
}
"""Fields of an assistant whose creator did not set them."""

SAMPLING = ("temperature", "top_p")
"""Fields of an assistant whose defaults may be the model's own."""

RANKING_OPTIONS: JSON = {"ranker": "default_2024_08_21", "score_threshold": 0.0}


def tool_with_defaults(tool: JSON) -> JSON:
    """Return a tool with its defaults."""
    match tool["type"]:
        case "function":
            function = {name: value for name, value in tool["function"].items() if value is not None}
            defaults = {"parameters": {"type": "object", "properties": {}}, "strict": False}
            return {**tool, "function": defaults | function}
        case "file_search":
            search = tool.get("file_search") or {}
            ranking = RANKING_OPTIONS | (search.get("ranking_options") or {})
            return {**tool, "file_search": {**search, "ranking_options": ranking}}
        case _:
            return tool


def resources_with_defaults(resources: JSON, tools: list[JSON]) -> JSON:
    """Return `tool_resources` with the defaults for these tools."""
    if any(tool["type"] == "code_interpreter" for tool in tools):
        return {"code_interpreter": {"file_ids": []}, **resources}
    return resources


def sent_function(tool: JSON) -> JSON:
    """Return a function tool for a model's provider, with `strict` only if it is true."""
    function = {name: value for name, value in tool["function"].items() if name != "strict" or value}
    return {**tool, "function": function}
