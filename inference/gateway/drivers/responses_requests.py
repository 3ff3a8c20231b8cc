"""Translate a request for a chat completion to one for a response."""

from collections.abc import Collection
from itertools import groupby
from typing import Any

from inference.errors import ProviderRejected
from inference.gateway import requests
from inference.gateway.answers.thinking import RESPONSES_ITEM
from inference.gateway.chat_fields import is_default
from inference.gateway.chat_members import BREAKPOINT, PHASE
from persistence.types import JSON

SAME = frozenset(
    {
        "metadata", "model", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "safety_identifier", "service_tier", "stream", "temperature",
        "top_logprobs", "top_p", "user",
    }
)  # fmt: skip
"""Fields that both APIs have under one name."""

TRANSLATED = frozenset(
    {
        "logprobs", "max_completion_tokens", "max_tokens", "messages", "reasoning_effort",
        "response_format", "store", "stream_options", "tool_choice", "tools", "verbosity", requests.REASONING,
    }
)  # fmt: skip

LEAST_TOKENS = 16
"""Tokens that the Responses API's `max_output_tokens` has at least."""


def responses_request(chat: JSON) -> JSON:
    """Return a chat request as a request for a response; ProviderRejected names what has no counterpart."""
    for name in sorted(chat.keys() - SAME - TRANSLATED):
        if not is_default(name, chat[name]):
            message = f"This model is asked through the Responses API, which does not have '{name}'."
            raise ProviderRejected.invalid(message, name, "unsupported_parameter")
    request: JSON = {name: chat[name] for name in SAME & chat.keys()}
    request |= {"store": False, "include": ["reasoning.encrypted_content"]}
    calls = [call for message in chat["messages"] for call in message.get("tool_calls") or ()]
    custom = {call["id"] for call in calls if call.get("type") == "custom"}
    request["input"] = [item for message in chat["messages"] for item in _items(message, custom)]
    limit = chat.get("max_completion_tokens", chat.get("max_tokens"))
    if limit is not None:
        request["max_output_tokens"] = max(limit, LEAST_TOKENS)
    reasoning = chat.get(requests.REASONING)
    if isinstance(reasoning, dict):
        request["reasoning"] = reasoning
    elif chat.get("reasoning_effort") is not None:
        request["reasoning"] = {"effort": chat["reasoning_effort"], "summary": "auto"}
    text = _text_options(chat)
    if text:
        request["text"] = text
    if chat.get("tools"):
        request["tools"] = [_tool(tool) for tool in chat["tools"]]
    if chat.get("tool_choice") is not None:
        request["tool_choice"] = _tool_choice(chat["tool_choice"])
    if chat.get("logprobs"):
        request["include"].append("message.output_text.logprobs")
    return request


def _text_options(chat: JSON) -> JSON:
    options: JSON = {} if chat.get("verbosity") is None else {"verbosity": chat["verbosity"]}
    format = chat.get("response_format")
    if format is not None:
        is_schema = format.get("type") == "json_schema"
        options["format"] = {"type": "json_schema", **format["json_schema"]} if is_schema else format
    return options


def _tool(tool: JSON) -> JSON:
    """Return a function or custom tool without its inner object."""
    type = tool["type"]
    inner = dict(tool.get(type) or {})
    if type == "function":
        return {"type": type, "parameters": None, "strict": False, **inner}
    format = inner.get("format") or {}
    if format.get("type") == "grammar":
        inner["format"] = {"type": "grammar", **(format.get("grammar") or {})}
    return {"type": type, **inner}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        return {"type": "allowed_tools", "mode": allowed["mode"], "tools": [*map(_named, allowed["tools"])]}
    return _named(choice)


def _named(choice: JSON) -> JSON:
    return {"type": choice["type"], **(choice.get(choice["type"]) or {})}


def _items(message: JSON, custom: Collection[str]) -> list[JSON]:
    """Return a chat message as input items; `custom` are the ids of the calls of custom tools."""
    role = message["role"]
    if role in ("tool", "function"):
        content = message.get("content")
        has_marks = any(BREAKPOINT in part for part in _parts(content))
        output: Any = [*map(_part, _parts(content))] if has_marks else _joined_text(content)
        call_id = message.get("tool_call_id") or message.get("name")
        type = "custom_tool_call_output" if call_id in custom else "function_call_output"
        return [{"type": type, "call_id": call_id, "output": output}]
    if role != "assistant":
        return [{"type": "message", "role": role, "content": [*map(_part, _parts(message.get("content")))]}]
    blocks = [block for block in message.get("thinking_blocks") or () if block.get("type") == RESPONSES_ITEM]
    items: list[JSON] = [block["item"] for block in blocks]
    items += _said(message)
    return [*items, *(_call(call) for call in message.get("tool_calls") or ())]


def _said(message: JSON) -> list[JSON]:
    """Return what an assistant's message says, as items: texts by their phase, then its refusal."""
    content = message.get("content")
    items: list[JSON] = []
    for phase, parts in groupby(_parts(content), lambda part: part.get(PHASE)):
        text = "".join(part.get("text") or "" for part in parts)
        if text:
            items.append(
                _assistant({"type": "output_text", "text": text}) | ({PHASE: phase} if phase else {})
            )
    refusal = message.get("refusal") or "".join(part.get("refusal") or "" for part in _parts(content))
    if refusal and items:
        items[-1]["content"].append({"type": "refusal", "refusal": refusal})
    elif refusal:
        items.append(_assistant({"type": "refusal", "refusal": refusal}))
    return items


def _assistant(part: JSON) -> JSON:
    return {"type": "message", "role": "assistant", "content": [part]}


def _call(call: JSON) -> JSON:
    if call.get("type") == "custom":
        return {"type": "custom_tool_call", "call_id": call["id"], **call["custom"]}
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    return {"type": "function_call", "call_id": call["id"], "name": function["name"], "arguments": arguments}


def _parts(content: Any) -> list[JSON]:
    return [{"type": "text", "text": content or ""}] if not isinstance(content, list) else content


def _joined_text(content: Any) -> str:
    return "".join(part.get("text") or "" for part in _parts(content))


def _part(part: JSON) -> JSON:
    mark = {BREAKPOINT: part[BREAKPOINT]} if part.get(BREAKPOINT) else {}
    match part["type"]:
        case "text":
            return {"type": "input_text", "text": part["text"], **mark}
        case "image_url":
            image = part["image_url"]
            detail = image.get("detail") or "auto"
            return {"type": "input_image", "image_url": image["url"], "detail": detail, **mark}
        case "file":
            return {"type": "input_file", **part["file"], **mark}
        case _:
            return part
