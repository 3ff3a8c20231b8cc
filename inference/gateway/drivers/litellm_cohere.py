"""Cohere's Chat API, version 2, for litellm, whose own translation loses much of it.

litellm 1.106 drops `tool_choice`, the text ahead of calls and thinking, and of streams also calls, usage and
the finish reason. It finds the classes for Cohere under names of its module, which `install` changes.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import litellm
from litellm.llms.base_llm.base_model_iterator import BaseModelResponseIterator
from litellm.llms.cohere.chat.v2_transformation import CohereV2ChatConfig
from litellm.types.utils import ModelResponse, ModelResponseStream

from persistence.types import JSON

NAMES = {
    "frequency_penalty": "frequency_penalty",
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop": "stop_sequences",
    "stream": "stream",
    "temperature": "temperature",
    "tools": "tools",
    "top_p": "p",
}
"""Cohere's name of each field that differs in nothing else."""

FINISH_REASONS = {
    "COMPLETE": "stop",
    "ERROR": "error",
    "MAX_TOKENS": "length",
    "STOP_SEQUENCE": "stop",
    "TIMEOUT": "error",
    "TOOL_CALL": "tool_calls",
}

MESSAGE_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id", "tool_plan"})


class CohereConfig(CohereV2ChatConfig):  # type: ignore[misc]
    """Translates chat completions to Cohere's requests, and its answers back."""

    def get_supported_openai_params(self, model: str) -> list[str]:  # noqa: ARG002
        """Return the fields that have a counterpart."""
        return [*NAMES, "tool_choice", "response_format", "extra_headers"]

    def map_openai_params(
        self,
        non_default_params: JSON,
        optional_params: JSON,
        model: str,  # noqa: ARG002
        drop_params: bool,  # noqa: ARG002
    ) -> JSON:
        """Return the request's fields under Cohere's names."""
        for name, value in non_default_params.items():
            if name in NAMES:
                optional_params[NAMES[name]] = value
        stop = optional_params.get("stop_sequences")
        if isinstance(stop, str):
            optional_params["stop_sequences"] = [stop]
        format = non_default_params.get("response_format") or {}
        if format.get("type") == "json_schema":
            schema = format["json_schema"].get("schema")
            optional_params["response_format"] = {"type": "json_object", "json_schema": schema}
        elif format:
            optional_params["response_format"] = format
        choice = non_default_params.get("tool_choice")
        if isinstance(choice, dict):  # Cohere cannot name one function, so it is offered no other
            named = (choice.get("function") or {}).get("name")
            tools = optional_params.get("tools") or ()
            optional_params["tools"] = [tool for tool in tools if tool["function"]["name"] == named]
        if choice not in (None, "auto"):
            optional_params["tool_choice"] = "NONE" if choice == "none" else "REQUIRED"
        return optional_params

    def transform_request(
        self, model: str, messages: list[Any], optional_params: JSON, litellm_params: JSON, headers: JSON
    ) -> JSON:
        """Return the body of the request."""
        kept = [_message(message) for message in messages]
        body: JSON = super().transform_request(model, kept, optional_params, litellm_params, headers)
        return body

    def transform_response(
        self,
        model: str,
        raw_response: httpx.Response,
        model_response: ModelResponse,
        *_: Any,
        **__: Any,
    ) -> ModelResponse:
        """Return the chat completion of a whole answer."""
        value = raw_response.json()
        message = _read(value["message"])
        finish_reason = _finish(value["finish_reason"])
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        made = {"id": value.get("id"), "choices": [choice], "model": model, "usage": _usage(value)}
        return ModelResponse(**{**made, "created": model_response.created})

    def get_model_response_iterator(
        self,
        streaming_response: Iterator[str] | AsyncIterator[str] | ModelResponse,
        sync_stream: bool,
        json_mode: bool | None = False,
    ) -> "CohereEvents":
        """Return the chunks of a stream."""
        return CohereEvents(streaming_response, sync_stream, json_mode)


class CohereEvents(BaseModelResponseIterator):  # type: ignore[misc]
    """Turns the events of a stream into chunks."""

    def chunk_parser(self, chunk: JSON) -> ModelResponseStream:
        """Return the chunk of an event, an empty one for most."""
        delta = chunk.get("delta") or {}
        made: JSON = {"index": 0, "delta": {}, "finish_reason": None}
        usage = None
        match chunk.get("type"):
            case "content-delta" | "tool-plan-delta":
                made["delta"] = _read(delta["message"])
            case "tool-call-start" | "tool-call-delta":
                made["delta"] = {"tool_calls": [{**delta["message"]["tool_calls"], "index": chunk["index"]}]}
            case "message-end":
                made["finish_reason"] = _finish(delta["finish_reason"])
                usage = _usage(delta)
        return ModelResponseStream(choices=[made], usage=usage)


def install() -> None:
    """Have litellm translate for Cohere with these classes."""
    litellm.CohereChatConfig = litellm.CohereV2ChatConfig = CohereConfig


def _message(message: JSON) -> JSON:
    kept = {
        name: value for name, value in message.items() if name in MESSAGE_FIELDS and value not in (None, [])
    }
    if kept["role"] == "developer":
        kept["role"] = "system"
    if kept["role"] == "assistant" and "tool_calls" in kept and kept.get("content"):
        kept["tool_plan"] = kept.pop("content")
    return kept


def _read(message: JSON) -> JSON:
    """Return a message, or a delta of one, in OpenAI's form."""
    content = message.get("content") or []
    parts = [content] if isinstance(content, dict) else content
    text = "".join(part.get("text") or "" for part in parts) or message.get("tool_plan")
    made: JSON = {"role": "assistant", "content": text or None}
    thought = "".join(part.get("thinking") or "" for part in parts)
    if thought:
        made["reasoning_content"] = thought
    if message.get("tool_calls"):
        made["tool_calls"] = message["tool_calls"]
    return made


def _finish(reason: str) -> str:
    return FINISH_REASONS.get(reason, reason)


def _usage(holder: JSON) -> JSON:
    tokens = (holder.get("usage") or {}).get("tokens") or {}
    prompt, completion = (int(tokens.get(name) or 0) for name in ("input_tokens", "output_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
