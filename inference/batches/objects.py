"""Batch objects, and the lines of their output files."""

import time
from collections.abc import Iterable

import orjson

from inference.batches.caller import LineAnswer
from inference.identifiers import new_id
from persistence.types import JSON

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

TIMES = {
    "in_progress": "in_progress_at",
    "finalizing": "finalizing_at",
    "completed": "completed_at",
    "failed": "failed_at",
    "expired": "expired_at",
    "cancelling": "cancelling_at",
    "cancelled": "cancelled_at",
}
"""The field that says since when a batch has a status."""

EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


def new_batch(
    *, input_file_id: str, endpoint: str, completion_window: str, metadata: JSON | None, seconds: float
) -> JSON:
    """Return the object of a batch that is to end within `seconds`."""
    now = int(time.time())
    return {
        "id": new_id("batch_"),
        "object": "batch",
        "endpoint": endpoint,
        "model": None,
        "errors": None,
        "input_file_id": input_file_id,
        "completion_window": completion_window,
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "in_progress_at": None,
        "expires_at": now + int(seconds),
        **{name: None for status, name in TIMES.items() if status != "in_progress"},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": no_usage(),
        "metadata": metadata or {},
    }


def moved(batch: JSON, status: str, **fields: object) -> JSON:
    """Return a batch in another status, since now."""
    return {**batch, **fields, "status": status, TIMES[status]: int(time.time())}


def error_list(errors: Iterable[JSON]) -> JSON:
    """Return the `errors` of a batch that has failed."""
    return {"object": "list", "data": list(errors)}


def batch_error(code: str, message: str, *, param: str | None = None, line: int | None = None) -> JSON:
    """Return one error of a batch; `line` counts from 1."""
    return {"code": code, "message": message, "param": param, "line": line}


# --- usage ---


def no_usage() -> JSON:
    """Return the usage of a batch that has asked no model."""
    return {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


def add_usage(total: JSON, usage: JSON) -> None:
    """Add the usage of an answer, in any endpoint's words, or of another batch's part."""
    prompt = usage.get("input_tokens_details") or usage.get("prompt_tokens_details") or {}
    completion = usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
    given = _number(usage.get("input_tokens", usage.get("prompt_tokens")))
    made = _number(usage.get("output_tokens", usage.get("completion_tokens")))
    total["input_tokens"] += given
    total["input_tokens_details"]["cached_tokens"] += _number(prompt.get("cached_tokens"))
    total["output_tokens"] += made
    total["output_tokens_details"]["reasoning_tokens"] += _number(completion.get("reasoning_tokens"))
    total["total_tokens"] += _number(usage.get("total_tokens")) or given + made


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


# --- lines of output files ---


def answered_line(custom_id: str, answer: LineAnswer) -> bytes:
    """Return the line of an output file or an error file, without its line break."""
    return (
        b'{"id":%b,"custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},"error":null}'
        % (
            orjson.dumps(new_id("batch_req_")),
            orjson.dumps(custom_id),
            answer.status,
            orjson.dumps(answer.request_id),
            answer.body,
        )
    )


def expired_line(custom_id: str) -> bytes:
    """Return the line of an error file for a request that was not answered in time."""
    return orjson.dumps(
        {"id": new_id("batch_req_"), "custom_id": custom_id, "response": None, "error": EXPIRED}
    )
