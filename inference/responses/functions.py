"""Tools that the caller runs, as functions of a chat model: definitions, arguments, items of calls."""

import json
from typing import Any

import orjson

from inference.gateway.chat_members import OUTPUT_SCHEMA
from persistence.types import JSON

CALL_TYPES = {
    "function": "function_call",
    "custom": "custom_tool_call",
    "local_shell": "local_shell_call",
    "shell": "shell_call",
    "apply_patch": "apply_patch_call",
    "computer": "computer_call",
    "computer_use_preview": "computer_call",
    "tool_search": "tool_search_call",
}
"""The item of a call, by the type of the tool."""

MAX_DEPTH = 100
"""Levels of arguments that become members of an item: encoders refuse values that are much deeper."""

_STRING = {"type": "string"}
_STRINGS = {"type": "array", "items": _STRING}
_INTEGER = {"type": "integer"}
_POINT = {"type": "object", "properties": {"x": _INTEGER, "y": _INTEGER}, "required": ["x", "y"]}

_ACTION = {
    "type": "object",
    "properties": {
        "type": {
            "type": "string",
            "enum": [
                "click",
                "double_click",
                "drag",
                "keypress",
                "move",
                "screenshot",
                "scroll",
                "type",
                "wait",
            ],
        },
        "x": {"type": "integer", "description": "Of click, double_click, move and scroll, in pixels."},
        "y": {"type": "integer", "description": "Of click, double_click, move and scroll, in pixels."},
        "button": {
            "type": "string",
            "enum": ["left", "right", "wheel", "back", "forward"],
            "description": "Of click.",
        },
        "keys": {**_STRINGS, "description": "Of keypress: the keys to press together."},
        "path": {"type": "array", "items": _POINT, "description": "Of drag: the points in order."},
        "scroll_x": {"type": "integer", "description": "Of scroll."},
        "scroll_y": {"type": "integer", "description": "Of scroll."},
        "text": {"type": "string", "description": "Of type: the text to type."},
    },
    "required": ["type"],
}

_PATCH = (
    "Creates, updates or deletes one file. `diff` is in V4A format: of a new file, every line with a leading "
    "'+'; of an update, hunks that begin with '@@' and have lines with a leading ' ', '-' or '+'."
)

_BUILT_IN: dict[str, tuple[str, JSON]] = {
    "local_shell": (
        "Runs a command on the user's computer and returns its output.",
        {
            "type": "object",
            "properties": {
                "command": {**_STRINGS, "description": "The program and its arguments."},
                "env": {"type": "object", "additionalProperties": _STRING},
                "timeout_ms": _INTEGER,
                "user": _STRING,
                "working_directory": _STRING,
            },
            "required": ["command"],
        },
    ),
    "shell": (
        "Runs shell commands on the user's computer, each in a shell of its own, and returns their output.",
        {
            "type": "object",
            "properties": {
                "commands": _STRINGS,
                "timeout_ms": _INTEGER,
                "max_output_length": {"type": "integer", "description": "Characters of output to return."},
            },
            "required": ["commands"],
        },
    ),
    "apply_patch": (
        _PATCH,
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": _STRING,
                "diff": {"type": "string", "description": "Not of delete_file."},
            },
            "required": ["type", "path"],
        },
    ),
    "computer": (
        "Acts on the user's computer, one action after the other, and returns a screenshot.",
        {
            "type": "object",
            "properties": {"actions": {"type": "array", "items": _ACTION}},
            "required": ["actions"],
        },
    ),
    "computer_use_preview": ("Acts on the user's computer and returns a screenshot.", _ACTION),
    "tool_search": (
        "Searches for tools by what they do and makes them available.",
        {"type": "object", "properties": {"query": _STRING}, "required": ["query"]},
    ),
}


# --- definitions ---


def definition(tool: JSON, name: str, prefix: str = "") -> JSON:
    """Return the chat function of a caller's tool; `prefix` is put before its description."""
    type = tool["type"]
    if type == "function":
        function = {"description": tool.get("description"), "parameters": tool.get("parameters")}
        function |= {"strict": tool.get("strict"), OUTPUT_SCHEMA: tool.get(OUTPUT_SCHEMA)}
    elif type == "custom":
        function = {"description": _custom_description(tool), "parameters": _input_schema(tool)}
    else:
        description, parameters = _BUILT_IN[type]
        if type == "computer_use_preview":
            description += f" It shows {tool['environment']}, {tool['display_width']} by "
            description += f"{tool['display_height']} pixels."
        own = {"description": tool.get("description"), "parameters": tool.get("parameters")}
        function = {
            "description": own["description"] or description,
            "parameters": own["parameters"] or parameters,
        }
    function["description"] = "\n\n".join(filter(None, (prefix, function["description"])))
    present = {key: value for key, value in function.items() if value is not None and value != ""}
    return {"type": "function", "function": {"name": name, **present}}


def _custom_description(tool: JSON) -> str:
    description: str = tool.get("description") or ""
    grammar = _grammar(tool)
    if grammar is None:
        return description
    rule = f"`input` must match this {grammar['syntax']} grammar:\n{grammar['definition']}"
    return f"{description}\n\n{rule}" if description else rule


def _input_schema(tool: JSON) -> JSON:
    grammar = _grammar(tool)
    meaning = "The tool's input as plain text." if grammar is None else "Text that matches the grammar."
    properties = {"input": {"type": "string", "description": meaning}}
    return {"type": "object", "properties": properties, "required": ["input"], "additionalProperties": False}


def _grammar(tool: JSON) -> JSON | None:
    format: JSON = tool.get("format") or {}
    if format.get("type") != "grammar":
        return None
    grammar: JSON = format.get("grammar") or format
    return grammar


# --- from arguments to items ---


def call_members(type: str, arguments: str) -> JSON:
    """Return what a call's item has of its arguments, by the type of the tool.

    A model may write arguments that do not fit. The item then has the nearest action that does no harm, which
    the caller's tool refuses in words that the model reads.
    """
    if type == "function":
        return {"arguments": arguments or "{}"}
    given = _object(arguments)
    if type == "custom":
        return {"input": _input(arguments, given)}
    return _MEMBERS[type](given)


def _object(arguments: str) -> JSON:
    try:
        value = orjson.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) and _is_shallow(value, MAX_DEPTH) else {}


def _is_shallow(value: Any, depth: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_shallow(child, depth - 1) for child in children)


def _input(arguments: str, given: JSON) -> str:
    """Return the input of a custom tool; a model that wrote no JSON wrote the input itself."""
    if isinstance(given.get("input"), str):
        return str(given["input"])
    if len(given) == 1 and isinstance(value := next(iter(given.values())), str):
        return value
    return arguments


def _local_shell(given: JSON) -> JSON:
    env = given.get("env")
    action: JSON = {
        "type": "exec",
        "command": _strings(given.get("command"), ["bash", "-lc"]),
        "env": {key: str(value) for key, value in env.items()} if isinstance(env, dict) else {},
    }
    timeout = given.get("timeout_ms")
    if _is_integer(timeout):
        action["timeout_ms"] = timeout
    texts = {name: given[name] for name in ("user", "working_directory") if isinstance(given.get(name), str)}
    return {"action": action | texts}


def _shell(given: JSON) -> JSON:
    limits = {name: given.get(name) for name in ("timeout_ms", "max_output_length")}
    numbers = {name: value if _is_integer(value) else None for name, value in limits.items()}
    return {"action": {"commands": _strings(given.get("commands")), **numbers}, "environment": None}


def _apply_patch(given: JSON) -> JSON:
    kind = given.get("type")
    if kind not in ("create_file", "update_file", "delete_file"):
        kind = "update_file"
    operation = {"type": kind, "path": str(given.get("path") or "")}
    if kind != "delete_file":
        operation["diff"] = str(given.get("diff") or "")
    return {"operation": operation}


def _computer(given: JSON) -> JSON:
    actions = given.get("actions")
    listed = actions if isinstance(actions, list) else [given]
    return {"actions": [_action(one) for one in listed], "pending_safety_checks": []}


def _computer_use_preview(given: JSON) -> JSON:
    return {"action": _action(given), "pending_safety_checks": []}


def _tool_search(given: JSON) -> JSON:
    return {"arguments": given, "execution": "client"}


def _action(given: Any) -> JSON:
    """Return an action with the members that its type has; a screenshot for one that lacks some."""
    members = _ACTION_MEMBERS.get(str(given.get("type"))) if isinstance(given, dict) else None
    if members is None or not all(check(given.get(name)) for name, check in members.items()):
        return {"type": "screenshot"}
    return {"type": given["type"]} | {name: given[name] for name in members}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_button(value: Any) -> bool:
    return value in ("left", "right", "wheel", "back", "forward")


def _are_keys(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_path(value: Any) -> bool:
    points = value if isinstance(value, list) else [None]
    return all(isinstance(p, dict) and _is_integer(p.get("x")) and _is_integer(p.get("y")) for p in points)


_XY = {"x": _is_integer, "y": _is_integer}

_ACTION_MEMBERS = {
    "click": {"button": _is_button, **_XY},
    "double_click": _XY,
    "drag": {"path": _is_path},
    "keypress": {"keys": _are_keys},
    "move": _XY,
    "screenshot": {},
    "scroll": {**_XY, "scroll_x": _is_integer, "scroll_y": _is_integer},
    "type": {"text": _is_text},
    "wait": {},
}


def _strings(value: Any, before: list[str] | None = None) -> list[str]:
    """Return a list of texts; a text alone is put behind `before`."""
    if isinstance(value, str):
        return [*(before or ()), value]
    return [str(one) for one in value] if isinstance(value, list) else []


_MEMBERS = {
    "local_shell": _local_shell,
    "shell": _shell,
    "apply_patch": _apply_patch,
    "computer": _computer,
    "computer_use_preview": _computer_use_preview,
    "tool_search": _tool_search,
}


# --- from items to arguments ---


def object_arguments(arguments: str) -> str:
    """Return a call's arguments as a JSON object: providers refuse a conversation with any other."""
    try:
        if isinstance(orjson.loads(arguments or "{}"), dict):
            return arguments or "{}"
    except ValueError:
        pass
    return json.dumps({"arguments": arguments}, ensure_ascii=False)


def tool_type(item: JSON) -> str:
    """Return the type of the tool that a call's item is of."""
    if item["type"] == "computer_call":
        return "computer_use_preview" if item.get("action") else "computer"
    return _TOOL_TYPES[item["type"]]


_TOOL_TYPES = {call: tool for tool, call in CALL_TYPES.items()} | {"program": "program"}


def call_arguments(item: JSON) -> str:
    """Return the arguments of a call's item, as the function that `definition` returns takes them."""
    match item["type"]:
        case "function_call":
            return object_arguments(item["arguments"])
        case "custom_tool_call":
            arguments = {"input": item["input"]}
        case "program":
            arguments = {"code": item["code"]}
        case "local_shell_call":
            arguments = {name: value for name, value in item["action"].items() if name != "type"}
        case "shell_call":
            arguments = item["action"]
        case "apply_patch_call":
            arguments = item["operation"]
        case "computer_call":
            arguments = item.get("action") or {"actions": item.get("actions") or []}
        case _:
            arguments = item["arguments"]
    if isinstance(arguments, dict):
        arguments = {name: value for name, value in arguments.items() if value is not None}
    return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
