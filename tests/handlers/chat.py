"""Chat requests over HTTP, and their answers."""

from collections.abc import Callable

import httpx

from persistence.types import JSON

Ask = Callable[..., JSON]


def created(http: httpx.Client, request: JSON) -> JSON:
    answer = http.post("chat/completions", json=request)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def error_of(answer: httpx.Response) -> tuple[int, JSON]:
    return answer.status_code, answer.json()["error"]


def events(http: httpx.Client, request: JSON) -> list[str]:
    with http.stream("POST", "chat/completions", json={**request, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
