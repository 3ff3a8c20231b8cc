"""The driver for models that speak OpenAI's Responses API only: chat completions are translated to it.

State stays here: the provider gets each request whole and is asked not to store it. What it wants back in
the next turn, its encrypted reasoning, travels as thinking blocks.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson

from inference.gateway import failures
from inference.gateway.answers import normalize, sse
from inference.gateway.answers.thinking import RESPONSES_ITEM
from inference.gateway.chat_members import PHASE
from inference.gateway.driver import (
    LARGEST_COMPLETION,
    MadeResponse,
    ProviderRequest,
    ProviderResponse,
    one_piece,
)
from inference.gateway.drivers.openai_driver import OpenAIDriver
from inference.gateway.drivers.responses_requests import responses_request
from inference.gateway.paths import CHAT
from inference.gateway.routing.targets import Target
from persistence.types import JSON

RESPONSES = "/responses"
SERVICE_TIER = "service_tier"

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
        **({SERVICE_TIER: response[SERVICE_TIER]} if response.get(SERVICE_TIER) else {}),
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
        if response.get(SERVICE_TIER):
            last[SERVICE_TIER] = response[SERVICE_TIER]
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
