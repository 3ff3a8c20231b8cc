"""The objects of the Assistants API that runs create."""

from typing import Any

from inference.defaults import resources_with_defaults, tool_with_defaults
from inference.engine.statuses import ENDED, check_transition
from persistence.types import JSON

LIFETIME = 600
"""Seconds from a run's creation to its expiry, as OpenAI's had."""

RUN_STAMPS = {
    "in_progress": "started_at",
    "completed": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
}
"""The field that a run sets when it reaches a status."""

STEP_STAMPS = {
    "completed": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
    "expired": "expired_at",
}


def run_label(run_id: str) -> str:
    """Return the label of a thread's messages that a run made."""
    return f"run:{run_id}"


def run_object(
    run_id: str, thread_id: str, assistant: JSON, request: JSON, *, now: int, lifetime: float = LIFETIME
) -> JSON:
    """A queued run: the assistant's settings, overridden by what the request sets."""
    tools = [tool_with_defaults(tool) for tool in _chosen(request, assistant, "tools")]
    return {
        "id": run_id,
        "object": "thread.run",
        "created_at": now,
        "assistant_id": assistant["id"],
        "thread_id": thread_id,
        "status": "queued",
        "started_at": None,
        "expires_at": int(now + lifetime),
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": _chosen(request, assistant, "model"),
        "instructions": _instructions(request, assistant),
        "tools": tools,
        "tool_resources": resources_with_defaults(request.get("tool_resources") or {}, tools),
        "metadata": request.get("metadata") or {},
        "temperature": _chosen(request, assistant, "temperature"),
        "top_p": _chosen(request, assistant, "top_p"),
        "reasoning_effort": _chosen(request, assistant, "reasoning_effort"),
        "max_completion_tokens": request.get("max_completion_tokens"),
        "max_prompt_tokens": request.get("max_prompt_tokens"),
        "truncation_strategy": {
            "type": "auto",
            "last_messages": None,
            **(request.get("truncation_strategy") or {}),
        },
        "incomplete_details": None,
        "usage": None,
        "response_format": _chosen(request, assistant, "response_format") or "auto",
        "tool_choice": request.get("tool_choice") or "auto",
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
    }


def _chosen(request: JSON, assistant: JSON, name: str) -> Any:
    value = request.get(name)
    return assistant.get(name) if value is None else value


def _instructions(request: JSON, assistant: JSON) -> str:
    # Never null: the editions and the SDKs' types know a run's instructions as text.
    parts = [_chosen(request, assistant, "instructions"), request.get("additional_instructions")]
    return "\n".join(part for part in parts if part)


def step_object(step_id: str, run: JSON, details: JSON, *, now: int) -> JSON:
    """A step in progress."""
    return {
        "id": step_id,
        "object": "thread.run.step",
        "created_at": now,
        "run_id": run["id"],
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "type": details["type"],
        "status": "in_progress",
        "cancelled_at": None,
        "completed_at": None,
        "expires_at": run["expires_at"],
        "expired_at": None,
        "failed_at": None,
        "last_error": None,
        "step_details": details,
        "metadata": {},
        "usage": None,
    }


def answer_object(message_id: str, run: JSON, *, now: int) -> JSON:
    """A message of the assistant in progress: without content, which it gets when it ends."""
    return message_object(
        message_id,
        run["thread_id"],
        "assistant",
        [],
        now=now,
        assistant_id=run["assistant_id"],
        run_id=run["id"],
    ) | {"status": "in_progress", "completed_at": None}


def message_object(
    message_id: str,
    thread_id: str,
    role: str,
    content: list[JSON],
    *,
    now: int,
    attachments: list[JSON] | None = None,
    metadata: JSON | None = None,
    assistant_id: str | None = None,
    run_id: str | None = None,
) -> JSON:
    """A whole message, as a caller adds it."""
    return {
        "id": message_id,
        "object": "thread.message",
        "created_at": now,
        "assistant_id": assistant_id,
        "thread_id": thread_id,
        "run_id": run_id,
        "status": "completed",
        "incomplete_details": None,
        "incomplete_at": None,
        "completed_at": now,
        "role": role,
        "content": content,
        "attachments": attachments or [],
        "metadata": metadata or {},
    }


def thread_object(
    thread_id: str, *, now: int, metadata: JSON | None = None, tool_resources: JSON | None = None
) -> JSON:
    """A thread without messages."""
    return {
        "id": thread_id,
        "object": "thread",
        "created_at": now,
        "metadata": metadata or {},
        "tool_resources": tool_resources or {},
    }


def text_part(value: str, annotations: list[JSON] | None = None) -> JSON:
    """A content part of text, as a message holds it."""
    return {"type": "text", "text": {"value": value, "annotations": annotations or []}}


def image_part(file_id: str) -> JSON:
    """A content part of an image that code has shown."""
    return {"type": "image_file", "image_file": {"file_id": file_id, "detail": "auto"}}


def usage_object(prompt: int, completion: int) -> JSON:
    """Tokens of a step or a run."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def moved(run: JSON, status: str, now: int, **changes: Any) -> JSON:
    """Return the run in its next status; IllegalTransition if it cannot move there.

    Write it by a Replace of the document that `run` was read from: of two concurrent moves, one wins.
    """
    check_transition(run["status"], status)
    value = {**run, **changes, "status": status}
    stamp = RUN_STAMPS.get(status)
    if stamp is not None and value.get(stamp) is None:
        value[stamp] = now
    if status != "requires_action":
        value["required_action"] = None
    if status in ENDED:
        value["expires_at"] = None
    return value


def required_action(calls: list[JSON]) -> JSON:
    """Return the `required_action` of a run that waits for the outputs of calls."""
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def finished_message(
    message: JSON, content: list[JSON], now: int, *, whole: bool, reason: str | None
) -> JSON:
    """Return a message with its content, in its last status."""
    return {
        **message,
        "content": content,
        "status": "completed" if whole else "incomplete",
        "completed_at": now if whole else None,
        "incomplete_at": None if whole else now,
        "incomplete_details": {"reason": reason} if reason else None,
    }


def finished_step(step: JSON, status: str, now: int, usage: JSON, error: JSON | None) -> JSON:
    """Return a step in its last status."""
    return {**step, "status": status, STEP_STAMPS[status]: now, "usage": usage, "last_error": error}


def step_error(error: JSON | None) -> JSON | None:
    """Return a run's error for its step: steps have fewer codes."""
    if error is None:
        return None
    code = "server_error" if error["code"] == "invalid_prompt" else error["code"]
    return {"code": code, "message": error["message"]}


def run_error(error: JSON) -> JSON:
    """Return a run's error as the run shows it."""
    return {"code": error["code"], "message": error["message"]}


def text_delta(text: str, annotations: list[JSON], index: int, place: int, *, first: bool) -> JSON:
    """Return a piece of a text; the first has the key `annotations`, later ones only if there are some.

    `index` is that of the first annotation, `place` that of the text in the message's content.
    """
    value: JSON = {"value": text}
    if annotations or first:
        value["annotations"] = [{"index": number, **each} for number, each in enumerate(annotations, index)]
    return {"index": place, "type": "text", "text": value}


def message_delta(message_id: str, part: JSON) -> JSON:
    """A piece of a message's content."""
    return {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}


def step_delta(step_id: str, call: JSON) -> JSON:
    """A piece of a step's calls."""
    details = {"type": "tool_calls", "tool_calls": [call]}
    return {"id": step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}


def without_content(call: JSON) -> JSON:
    """A call of a step without the content of what file_search found."""
    search = call.get("file_search")
    if not search:
        return call
    results = [{k: v for k, v in each.items() if k != "content"} for each in search.get("results", ())]
    return {**call, "file_search": {**search, "results": results}}
