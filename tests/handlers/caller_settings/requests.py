"""What a caller of a server in `astra` mode sends, and how it is refused."""

from collections.abc import Callable

import httpx

from persistence.types import JSON

TENANT = {"astra-api-token": "AstraCS:ours:0123456789abcdef"}
KEY = "sk-the-callers-own-secret"
Ask = Callable[..., JSON]


def refusal(answer: httpx.Response) -> tuple[int, JSON]:
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert KEY not in answer.text
    return answer.status_code, error
