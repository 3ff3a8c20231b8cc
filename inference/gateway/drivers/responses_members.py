"""Take out of chat requests what only the Responses API has, for providers that do not take it."""

from typing import Any

from inference.gateway.answers.thinking import RESPONSES_ITEM, are_blocks
from inference.gateway.chat_members import BREAKPOINT, OUTPUT_SCHEMA, PHASE
from inference.gateway.routing.targets import Target
from persistence.types import JSON

CLAUDES_BREAKPOINTS = 4
"""Breakpoints that Anthropic takes in a request."""

_CLAUDES_MARK = {"cache_control": {"type": "ephemeral"}}


def for_chat(fields: JSON, target: Target, *, takes_breakpoints: bool) -> JSON:
    """Return a chat request as a target that has no Responses API takes it; the given one is not changed."""
    room = CLAUDES_BREAKPOINTS if _is_claudes(target) else 0
    messages: list[Any] = []
    for message in reversed(fields["messages"]):
        plain = _assistants(message)
        if not takes_breakpoints and isinstance(plain, dict) and isinstance(plain.get("content"), list):
            content, used = _marked(plain["content"], room)
            plain, room = {**plain, "content": content}, room - used
        messages.append(plain)
    fields = {**fields, "messages": messages[::-1]}
    if fields.get("tools"):
        fields["tools"] = [_tool(tool) for tool in fields["tools"]]
    return fields


def _is_claudes(target: Target) -> bool:
    return target.wire == "litellm" and target.model.startswith("anthropic/")


def _assistants(message: Any) -> Any:
    """Return a message without phases, and without reasoning items of the Responses API."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    content, blocks = message.get("content"), message.get("thinking_blocks")
    if isinstance(content, list) and any(isinstance(part, dict) and PHASE in part for part in content):
        message = {**message, "content": "\n".join(part["text"] for part in content)}
    if are_blocks(blocks) and any(block.get("type") == RESPONSES_ITEM for block in blocks):
        kept = [block for block in blocks if block.get("type") != RESPONSES_ITEM]
        message = {**message, "thinking_blocks": kept or None}
    return message


def _marked(parts: list[Any], room: int) -> tuple[str | list[Any], int]:
    """Return parts with Anthropic's marks for the last `room` breakpoints, and how many these are.

    Parts that had breakpoints and are texts only become one text, which every model reads.
    """
    places = [index for index, part in enumerate(parts) if isinstance(part, dict) and part.get(BREAKPOINT)]
    if not places:
        return parts, 0
    marked = set(places[-room:] if room else ())
    plain = [
        _without_breakpoint(part, _CLAUDES_MARK if at in marked else {}) for at, part in enumerate(parts)
    ]
    if not marked and all(isinstance(part, dict) and part.get("type") == "text" for part in plain):
        return "\n".join(part["text"] for part in plain), 0
    return plain, len(marked)


def _without_breakpoint(part: Any, mark: JSON) -> Any:
    if not isinstance(part, dict):
        return part
    return {name: value for name, value in part.items() if name != BREAKPOINT} | mark


def _tool(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or OUTPUT_SCHEMA not in function:
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != OUTPUT_SCHEMA}}
