"""What a caller of a server in `astra` mode sends, and how it is refused."""

import json
from collections.abc import Callable

import httpx

from persistence.types import JSON

TENANT = {"astra-api-token": "AstraCS:ours:0123456789abcdef"}
KEY = "sk-the-callers-own-secret"
Ask = Callable[..., JSON]


def refusal(answer: httpx.Response) -> tuple[int, JSON]:
    """Return the status and the error of an answer, also of a stream that has its error as an event."""
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    content = answer.text.rpartition("event: error\ndata: ")[2] if is_stream else answer.text
    error = json.loads(content)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert KEY not in answer.text
    return answer.status_code, error
