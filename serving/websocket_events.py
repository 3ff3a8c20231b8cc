"""The messages of a WebSocket: what a client sends, and the events that it gets, each one JSON object."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from handlers.errors import ApiError, BadRequest, ServerError
from persistence.types import JSON

CREATE = "response.create"

ENVELOPE = ("type", "stream_id", "background")
"""Members of `response.create` that are no fields of the response to create."""

PROCESSED = "response.processed"
"""What Codex sends when it has read a response; nothing is answered."""

STREAM_ID = re.compile("[A-Za-z0-9_.-]{1,256}")

FAILURES = (b"event: error\n", b"event: response.failed\n")


def message_type(message: Any) -> str:
    """Return the type of a client's message; raises BadRequest for one that is not known."""
    if not isinstance(message, dict):
        raise BadRequest("A message must be a JSON object.", code="invalid_type")
    kind = message.get("type")
    if kind not in (CREATE, PROCESSED):
        shown = "nothing" if kind is None else f"'{str(kind)[:64]}'"
        raise BadRequest(
            f"Invalid value for 'type': expected '{CREATE}', but got {shown}.",
            param="type",
            code="invalid_value",
        )
    return str(kind)


def stream_id_of(message: Any) -> str | None:
    """Return the lane that a client's message names, or None; raises BadRequest."""
    stream_id = message.get("stream_id") if isinstance(message, dict) else None
    if stream_id is None:
        return None
    if not isinstance(stream_id, str) or STREAM_ID.fullmatch(stream_id) is None:
        raise BadRequest(
            "Invalid 'stream_id': expected 1 to 256 letters, digits, underscores, hyphens and periods.",
            param="stream_id",
            code="invalid_stream_id",
        )
    return stream_id


def body_of(message: JSON) -> JSON:
    """Return the fields of the response that a `response.create` asks for; raises BadRequest."""
    if message.get("background"):
        raise BadRequest(
            "'background' is not supported over a WebSocket: send the request over HTTP.",
            param="background",
            code="unsupported_parameter",
        )
    body = {name: value for name, value in message.items() if name not in ENVELOPE}
    return body | {"stream": True}


def events_of(frames: bytes) -> Iterator[tuple[str, bool]]:
    """Yield the JSON of each Server-Sent Event, and whether it says that the response has failed."""
    for frame in frames.split(b"\n\n"):
        _, _, data = frame.partition(b"data: ")
        if data.startswith(b"{"):
            has_failed = frame.startswith(FAILURES)
            is_error = has_failed and frame.startswith(FAILURES[0])
            yield (_streamed_error(data) if is_error else data.decode()), has_failed


def _streamed_error(data: bytes) -> str:
    """Return an error event of a stream, whose members stand in `error` here."""
    event = orjson.loads(data)
    if "error" in event:
        return data.decode()
    error = {"type": ServerError.type, "code": event.get("code") or ServerError.type}
    error |= {"message": event.get("message"), "param": event.get("param")}
    changed = {"type": "error", "status": 500, "error": error}
    if "sequence_number" in event:
        changed["sequence_number"] = event["sequence_number"]
    return orjson.dumps(changed).decode()


def with_stream_id(text: str, stream_id: str | None) -> str:
    """Return an event as its lane gets it."""
    return text if stream_id is None else f'{text[:-1]},"stream_id":"{stream_id}"}}'


def error_text(error: ApiError) -> str:
    """Return the event of an error outside of any response."""
    return error_event(error.status, error.body())


def error_event(status: int, body: JSON) -> str:
    """Return the event of an error's body; clients expect its code to be a string."""
    error = body["error"]
    error["code"] = error["code"] or error["type"]
    return orjson.dumps({"type": "error", "status": status, "error": error}).decode()
