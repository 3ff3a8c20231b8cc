"""What the providers refuse, in their own words: unknown fields, calls without outputs, missing signatures."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from persistence.types import JSON

Refusal = tuple[int, bytes]

ANTHROPIC = frozenset(
    [
        "model",
        "messages",
        "max_tokens",
        "system",
        "stop_sequences",
        "stream",
        "temperature",
        "top_k",
        "top_p",
        "tools",
        "tool_choice",
        "thinking",
        "metadata",
        "service_tier",
        "output_config",
        "output_format",
        "context_management",
        "container",
        "mcp_servers",
    ]
)
GEMINI = frozenset(
    [
        "contents",
        "systemInstruction",
        "system_instruction",
        "tools",
        "toolConfig",
        "tool_config",
        "generationConfig",
        "generation_config",
        "safetySettings",
        "safety_settings",
        "cachedContent",
        "cached_content",
        "labels",
        "serviceTier",
    ]
)
BEDROCK = frozenset(
    [
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "guardrailConfig",
        "additionalModelRequestFields",
        "promptVariables",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
        "outputConfig",
        "serviceTier",
    ]
)
COHERE = frozenset(
    [
        "model",
        "messages",
        "stream",
        "tools",
        "strict_tools",
        "documents",
        "citation_options",
        "response_format",
        "safety_mode",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "k",
        "p",
        "logprobs",
        "tool_choice",
        "thinking",
        "priority",
    ]
)
MISTRAL = frozenset(
    [
        "model",
        "messages",
        "temperature",
        "top_p",
        "max_tokens",
        "stream",
        "stop",
        "random_seed",
        "metadata",
        "response_format",
        "tools",
        "tool_choice",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "prediction",
        "parallel_tool_calls",
        "prompt_mode",
        "guardrails",
        "reasoning_effort",
        "safe_prompt",
    ]
)


def anthropic(body: JSON) -> Refusal | None:
    """Refuse what Anthropic's Messages API refuses."""
    for name in sorted(body.keys() - ANTHROPIC):
        return _anthropics(f"{name}: Extra inputs are not permitted")
    if "max_tokens" not in body:
        return _anthropics("max_tokens: Field required")
    if not body["messages"] or body["messages"][0]["role"] != "user":
        return _anthropics('messages: first message must use the "user" role')
    asked = max(map(_asked, enumerate(body["messages"])))
    for place, message in enumerate(body["messages"]):
        blocks = _list(message["content"])
        calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
        following = body["messages"][place + 1]["content"] if place + 1 < len(body["messages"]) else []
        outputs = {block.get("tool_use_id") for block in _list(following) if isinstance(block, dict)}
        if calls - outputs:
            return _anthropics(f"messages.{place}: `tool_use` ids were found without `tool_result` blocks")
        thinks = (body.get("thinking") or {}).get("type") == "enabled"
        if thinks and calls and place > asked and blocks[0]["type"] != "thinking":
            return _anthropics(
                f"messages.{place}.content.0.type: Expected `thinking`, but found another type"
            )
        for block in blocks:
            if block["type"] == "thinking" and block["signature"] != signature(block["thinking"]):
                return _anthropics(f"messages.{place}.content.0: Invalid `signature` in `thinking` block")
    return None


def _asked(numbered: tuple[int, JSON]) -> int:
    """Return the number of a message in which a user says something, else -1."""
    place, message = numbered
    is_text = any(block["type"] == "text" for block in _list(message["content"]))
    return place if message["role"] == "user" and is_text else -1


def signature(thought: str) -> str:
    """Return the signature under a thought."""
    return base64.b64encode(f"signed {thought}".encode()).decode()


def gemini(body: JSON) -> Refusal | None:
    """Refuse what Gemini's generateContent refuses."""
    for name in sorted(body.keys() - GEMINI):
        return _googles(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    contents = body["contents"]
    for content, following in zip(contents, [*contents[1:], {"parts": []}], strict=True):
        calls = list(_parts(content, "functionCall", "function_call"))
        outputs = list(_parts(following, "functionResponse", "function_response"))
        if calls and len(calls) != len(outputs):
            return _googles(
                "Please ensure that the number of function response parts is equal to the number of function "
                "call parts of the function call turn."
            )
    return None


def bedrock(body: JSON) -> Refusal | None:
    """Refuse what Bedrock's Converse refuses."""
    for name in sorted(body.keys() - BEDROCK):
        return _amazons(f"The field {name} is not known.")
    messages = body["messages"]
    for message, following in zip(messages, [*messages[1:], {"content": []}], strict=True):
        calls = {block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block}
        outputs = {
            block["toolResult"]["toolUseId"] for block in following["content"] if "toolResult" in block
        }
        if calls - outputs:
            return _amazons("Expected toolResult blocks for the toolUse blocks of the previous turn.")
        for block in message["content"]:
            text = block.get("reasoningContent", {}).get("reasoningText")
            if text and text.get("signature") != signature(text["text"]):
                return _amazons("Invalid `signature` in `thinking` block")
    return None


def cohere(body: JSON) -> Refusal | None:
    """Refuse what Cohere's Chat API refuses."""
    for name in sorted(body.keys() - COHERE):
        return 400, json.dumps({"message": f"invalid request: unknown field '{name}'"}).encode()
    return None


def mistral(body: JSON) -> Refusal | None:
    """Refuse what Mistral refuses."""
    for name in sorted(body.keys() - MISTRAL):
        return _mistrals(["body", name], "Extra inputs are not permitted")
    for place, message in enumerate(body["messages"]):
        allowed = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}
        for name in sorted(message.keys() - allowed):
            where = ["body", "messages", place, message["role"], name]
            return _mistrals(where, "Extra inputs are not permitted")
        for id in (message.get("tool_call_id"), *(call["id"] for call in message.get("tool_calls") or ())):
            if id is not None and not re.fullmatch("[A-Za-z0-9]{9}", id):
                text = f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."
                return 400, json.dumps({"object": "error", "message": text, "code": 3280}).encode()
    return None


RULES: dict[str, Callable[[JSON], Refusal | None]] = {
    "messages": anthropic,
    "generateContent": gemini,
    "streamGenerateContent": gemini,
    "converse": bedrock,
    "converse-stream": bedrock,
    "chat": cohere,
    "mistral": mistral,
}
"""The rules of an operation."""


def _list(content: Any) -> list[JSON]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _parts(content: JSON, *names: str) -> Iterator[JSON]:
    return (part for part in content["parts"] if part.keys() & set(names))


def _anthropics(message: str) -> Refusal:
    error = {"type": "invalid_request_error", "message": message}
    return 400, json.dumps({"type": "error", "error": error}).encode()


def _googles(message: str) -> Refusal:
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    return 400, json.dumps({"error": error}).encode()


def _amazons(message: str) -> Refusal:
    return 400, json.dumps({"message": message}).encode()


def _mistrals(where: list[Any], message: str) -> Refusal:
    detail = [{"type": "extra_forbidden", "loc": where, "msg": message}]
    return 422, json.dumps({"object": "error", "message": {"detail": detail}}).encode()
