"""The response object of the Responses API and its parts."""

from collections.abc import Collection

from inference.engine.attempt import CAUSE
from inference.engine.items import Usage
from inference.engine.statuses import ENDED, check_transition
from inference.responses.items import UNRESOLVED, shown
from persistence.types import JSON

STATUSES = {"requires_action": "completed", "cancelling": "cancelled", "expired": "failed"}
"""A response's status for an engine's status that responses do not have."""

APPENDED = frozenset({"completed", "incomplete"})
"""Statuses of responses whose items become a part of their conversation."""

_DEFAULTS: JSON = {
    "background": False,
    "completed_at": None,
    "error": None,
    "frequency_penalty": 0.0,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "moderation": None,
    "output": [],
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
}
"""Fields of a response whose request did not set them."""

_MCP_DEFAULTS: JSON = {"allowed_tools": None, "headers": None, "require_approval": "always"}
"""Members of an MCP tool that its request did not set; what is sent to the server is never shown."""

_CACHE_OPTIONS = {"mode": "implicit", "ttl": "30m"}
"""What `prompt_cache_options` has where a request leaves it out."""

_CAUSES = frozenset(
    {
        "context_length_exceeded", "empty_image_file", "failed_to_download_image",
        "image_content_policy_violation", "image_file_not_found", "image_file_too_large",
        "image_parse_error", "image_too_large", "image_too_small", "insufficient_quota",
        "invalid_base64_image", "invalid_image", "invalid_image_format", "invalid_image_mode",
        "invalid_image_url", "unsupported_image_media_type",
    }
)  # fmt: skip
"""Codes of providers that a failed response has too; Codex acts on two that the edition does not list."""

SERVICE_TIERS = frozenset({"auto", "default", "fast", "flex", "priority", "scale", "ultrafast"})
"""Service tiers that a response can have; what providers call by other names is not shown."""

_ECHOED = (
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "temperature",
    "tool_choice",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
"""Fields that a response repeats as its request has them."""


def response_object(id: str, request: JSON, *, now: int) -> JSON:
    """Return a queued response to a request, with what the request set."""
    echoed = {name: request[name] for name in _ECHOED if request.get(name) is not None}
    response: JSON = {"id": id, "object": "response", "created_at": now, "status": "queued"}
    response |= {**_DEFAULTS, **echoed}
    response["tools"] = [_tool(tool) for tool in request.get("tools") or ()]
    response["text"] = _text(request.get("text") or {})
    reasoning = {name: value for name, value in (request.get("reasoning") or {}).items() if value is not None}
    summary = reasoning.get("generate_summary")  # its name before `summary`
    response["reasoning"] = {"effort": None, "summary": summary, **reasoning}
    if request.get("prompt_cache_options") is not None:
        response["prompt_cache_options"] = {**_CACHE_OPTIONS, **request["prompt_cache_options"]}
    conversation = request.get("conversation")
    if conversation is not None:
        response["conversation"] = {"id": conversation}
    return response


def _tool(tool: JSON) -> JSON:
    """Return a tool as a response shows it: a function with all its members."""
    if tool["type"] == "function":
        return {"description": None, "parameters": None, "strict": None, **tool}
    if tool["type"] == "mcp":
        return {**_MCP_DEFAULTS, **tool}
    return tool


def _text(text: JSON) -> JSON:
    format = text.get("format") or {"type": "text"}
    if format["type"] == "json_schema":
        format = {"description": None, "strict": False, **format}
    verbosity = text.get("verbosity")
    return {"format": format} | ({} if verbosity is None else {"verbosity": verbosity})


def moved(response: JSON, status: str, now: int) -> JSON:
    """Return the response in its next status of the engine; IllegalTransition if it cannot move there."""
    check_transition(response["status"], status)
    value = {**response, "status": STATUSES.get(status, status)}
    if value["status"] == "completed":
        value["completed_at"] = now
    return value


def usage_object(usage: Usage) -> JSON:
    """Return the tokens of a response."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def shown_response(response: JSON, include: Collection[str]) -> JSON:
    """Return a stored response as clients see it."""
    return {**response, "output": [shown(item, include) for item in response["output"]]}


def conversation_items(response: JSON, input: list[JSON]) -> list[JSON]:
    """Return the items that an ended response adds to its conversation, each id once.

    A response that failed or was cancelled adds none: its request is sent again.
    """
    if response["status"] not in APPENDED:
        return []
    items = [*input, *without_cut_off(response["output"])]
    items = [item for item in items if item["type"] not in UNRESOLVED]
    return list({item["id"]: item for item in items}.values())


def without_cut_off(output: list[JSON]) -> list[JSON]:
    """Return the items of an output without calls that were cut off in the middle: nobody can answer them."""
    return [item for item in output if item["type"] == "message" or item.get("status") != "incomplete"]


def has_ended(response: JSON) -> bool:
    """Return whether a response is in its last status."""
    return response["status"] in ENDED


def error_object(error: JSON) -> JSON:
    """Return the error of a failed response."""
    cause = error.get(CAUSE)
    return {"code": cause if cause in _CAUSES else error["code"], "message": error["message"]}


def incomplete_details(reason: str | None) -> JSON:
    """Return why a response is incomplete: `reason` is the engine's, None for the provider's filter."""
    return {"reason": "content_filter" if reason is None else "max_output_tokens"}


def part_of_text(text: str, annotations: list[JSON], logprobs: list[JSON]) -> JSON:
    """Return a content part of text, as an assistant's message has it."""
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}


def message_item(id: str, content: list[JSON], status: str, phase: str | None) -> JSON:
    """Return a message of the assistant."""
    item: JSON = {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}
    return item if phase is None else {**item, "phase": phase}


def file_search_item(id: str, status: str, queries: list[str], results: list[JSON] | None) -> JSON:
    """Return a call of file_search."""
    call: JSON = {"id": id, "type": "file_search_call", "status": status, "queries": queries}
    return {**call, "results": results}


def file_search_result(found: JSON) -> JSON:
    """Return what file_search found as its call shows it."""
    text = "\n".join(part["text"] for part in found.get("content") or ())
    return {
        "file_id": found["file_id"],
        "filename": found["file_name"],
        "score": found["score"],
        "attributes": found.get("attributes") or {},
        "text": text,
    }
