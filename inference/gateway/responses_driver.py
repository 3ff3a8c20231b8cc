"""The driver for models that speak OpenAI's Responses API only: chat completions are translated to it.

State stays here: the provider gets each request whole and is asked not to store it. What it wants back in
the next turn, its encrypted reasoning, travels as thinking blocks.
"""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from itertools import groupby
from typing import Any

import orjson

from inference.errors import ProviderRejected
from inference.gateway import failures, normalize, requests, sse
from inference.gateway.driver import (
    LARGEST_COMPLETION,
    MadeResponse,
    ProviderRequest,
    ProviderResponse,
    one_piece,
)
from inference.gateway.openai_driver import OpenAIDriver
from inference.gateway.paths import CHAT
from inference.gateway.requests import PHASE
from inference.gateway.targets import Target
from inference.gateway.thinking import RESPONSES_ITEM
from persistence.types import JSON

RESPONSES = "/responses"
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

FINISHES = {"max_output_tokens": "length", "content_filter": "content_filter"}

CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
"""The type of a chat completion's call, and what its text is called, by the type of the item."""


class ResponsesDriver:
    """Sends chat completions as responses; every other request as it is."""

    def __init__(self, driver: OpenAIDriver) -> None:
        self._driver = driver

    async def close(self) -> None:
        """Do nothing: the connections are the other driver's."""

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Return the response, as a chat completion or its chunks where it succeeds."""
        body = request.body
        if request.path != CHAT or not isinstance(body, dict):
            return await self._driver.send(target, request)
        asked = ProviderRequest("POST", RESPONSES, responses_request(body), request.headers)
        response = await self._driver.send(target, asked)
        if not 200 <= response.status < 300:
            return response
        if body.get("stream"):
            return MadeResponse(_frames(target, response), "text/event-stream")
        async with aclosing(response):
            answer = await normalize.parsed_large(target, await response.read(LARGEST_COMPLETION))
        try:
            completion = _completion(target, answer)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise failures.unreadable("it is not in the Responses API's form") from exc
        return MadeResponse(one_piece(orjson.dumps(completion)))


# --- requests ---


def responses_request(chat: JSON) -> JSON:
    """Return a chat request as a request for a response; ProviderRejected names what has no counterpart."""
    for name in sorted(chat.keys() - SAME - TRANSLATED):
        if not (name == "n" and chat[name] == 1):
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
        output = _joined_text(message.get("content"))
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
    match part["type"]:
        case "text":
            return {"type": "input_text", "text": part["text"]}
        case "image_url":
            image = part["image_url"]
            return {
                "type": "input_image",
                "image_url": image["url"],
                "detail": image.get("detail") or "auto",
            }
        case "file":
            return {"type": "input_file", **part["file"]}
        case _:
            return part


# --- answers ---


def _completion(target: Target, response: JSON) -> JSON:
    """Return a whole response as a chat completion."""
    message: JSON = {"role": "assistant", "content": None}
    calls: list[JSON] = []
    logprobs: list[JSON] = []
    for item in response["output"]:
        match item.get("type"):
            case "message":
                for part in item.get("content") or ():
                    name, said = _said_in(part)
                    message[name] = (message.get(name) or "") + said
                    logprobs += part.get("logprobs") or ()
            case "reasoning":
                thought = _thought(item)
                if thought:
                    message["reasoning_content"] = message.get("reasoning_content", "") + thought
                message.setdefault("thinking_blocks", []).append(_block(item))
            case "function_call" | "custom_tool_call":
                calls.append(_tool_call(item))
    if calls:
        message["tool_calls"] = calls
    choice: JSON = {"index": 0, "message": message, "logprobs": _logprobs(logprobs)}
    choice["finish_reason"] = _finish(response, has_calls=bool(calls))
    return {
        **_head(target, response),
        "object": "chat.completion",
        "choices": [choice],
        "usage": _usage(response),
    }


def _said_in(part: JSON) -> tuple[str, str]:
    """Return the member of a chat message to which a part belongs, and its text."""
    if part.get("type") == "refusal":
        return "refusal", part["refusal"]
    return "content", part.get("text") or ""


def _tool_call(item: JSON) -> JSON:
    """Return a call as a chat completion has it."""
    type, text = CALLS[item["type"]]
    return {"id": item["call_id"], "type": type, type: {"name": item["name"], text: item.get(text) or ""}}


def _logprobs(tokens: list[JSON]) -> JSON | None:
    return {"content": tokens, "refusal": None} if tokens else None


def _head(target: Target, response: JSON) -> JSON:
    return {
        "id": response.get("id"),
        "created": int(response.get("created_at") or 0),
        "model": response.get("model") or target.model,
    }


def _thought(item: JSON) -> str:
    parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
    return "\n\n".join(part.get("text") or "" for part in parts)


def _block(item: JSON) -> JSON:
    """Return the thinking block that holds a reasoning item, as the next request sends it back."""
    kept = {name: item[name] for name in ("id", "type", "summary", "encrypted_content") if item.get(name)}
    return {"type": RESPONSES_ITEM, "item": {"summary": [], **kept}}


def _finish(response: JSON, *, has_calls: bool) -> str:
    if response.get("status") == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        return FINISHES.get(str(reason), "length")
    return "tool_calls" if has_calls else "stop"


def _usage(response: JSON) -> JSON | None:
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "prompt_tokens": usage.get("input_tokens") or 0,
        "completion_tokens": usage.get("output_tokens") or 0,
        "total_tokens": usage.get("total_tokens") or 0,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


# --- streams ---


class _Chunks:
    """Turns the events of a response into chunks of a chat completion."""

    def __init__(self, target: Target) -> None:
        self.has_ended = False
        self._target = target
        self._head: JSON = _head(target, {})
        self._calls: dict[str, tuple[int, str]] = {}

    def read(self, event: JSON) -> list[JSON]:
        """Return the chunks of an event; a ProviderError for one that tells of a failure."""
        name = str(event.get("type"))
        match name:
            case "response.created":
                self._head = _head(self._target, event["response"])
                return [self._chunk({"role": "assistant", "content": ""})]
            case "response.output_text.delta":
                return [self._text(event)]
            case "response.refusal.delta":
                return [self._chunk({"refusal": event["delta"]})]
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return [self._chunk({"reasoning_content": event["delta"]})]
            case "response.output_item.added":
                return self._added(event["item"])
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                return [self._grown(event)]
            case "response.output_item.done" if event["item"].get("type") == "reasoning":
                return [self._chunk({"thinking_blocks": [_block(event["item"])]})]
            case "response.completed" | "response.incomplete":
                return self._end(event["response"])
            case "response.failed":
                raise failures.from_value(self._target, event["response"])
            case "error":
                raise failures.from_value(self._target, {"error": event})
        return []

    def _text(self, event: JSON) -> JSON:
        chunk = self._chunk({"content": event["delta"]})
        chunk["choices"][0]["logprobs"] = _logprobs(event.get("logprobs") or [])
        return chunk

    def _added(self, item: JSON) -> list[JSON]:
        if item.get("type") == "message" and item.get(PHASE):
            return [self._chunk({PHASE: item[PHASE]})]
        if item.get("type") not in CALLS:
            return []
        index = len(self._calls)
        self._calls[item["id"]] = (index, item["type"])
        return [self._chunk({"tool_calls": [{"index": index, **_tool_call(item)}]})]

    def _grown(self, event: JSON) -> JSON:
        index, item_type = self._calls[event["item_id"]]
        type, text = CALLS[item_type]
        return self._chunk({"tool_calls": [{"index": index, type: {text: event["delta"]}}]})

    def _end(self, response: JSON) -> list[JSON]:
        self.has_ended = True
        last = self._chunk({}, _finish(response, has_calls=bool(self._calls)))
        usage = _usage(response)
        return [last] if usage is None else [last, {**self._chunk({}), "choices": [], "usage": usage}]

    def _chunk(self, delta: JSON, finish: str | None = None) -> JSON:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}


async def _frames(target: Target, response: ProviderResponse) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a streamed response as events, and `[DONE]` behind its end."""
    parser, chunks = sse.EventParser(), _Chunks(target)
    async with aclosing(response):
        async for piece in response:
            try:
                events = [orjson.loads(data) for data in parser.feed(piece) if data != b"[DONE]"]
                made = [chunk for event in events for chunk in chunks.read(event)]
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise failures.unreadable(
                    "an event of the response is not in the Responses API's form"
                ) from exc
            if made:
                yield b"".join(map(sse.frame, made))
            if chunks.has_ended:
                await response.drain()
                break
    if chunks.has_ended:
        yield sse.DONE
