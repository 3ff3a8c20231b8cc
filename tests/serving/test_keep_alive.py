"""A silent event stream gets comments, before its first event and between two."""

import json
import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests.provider import ProviderProcess
from tests.server import Server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    """A server that sends a comment after half a second of silence."""
    models = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url}
    with Server(tmp_path_factory.mktemp("quick"), ASTROLABE_KEEP_ALIVE="0.5", **models) as server:
        yield server


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    ("turn", "last"),
    [
        ({"text": "late"}, "[DONE]"),
        ({"fail": {"status": 400, "message": "the provider's words"}}, "the provider's words"),
    ],
)
def test_headers_go_out_while_the_provider_is_silent(
    http: httpx.Client, provider: ProviderProcess, tag: str, turn: dict, last: str, stored: bool
) -> None:
    content = "script: " + json.dumps({"tag": tag, "turns": [{"wait": 4, **turn}]})
    body = {"model": "m", "stream": True, "store": stored, "messages": [{"role": "user", "content": content}]}
    with http.stream("POST", "chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == ": keep-alive"
        assert provider.received(tag)[0]["ended"] is None
        assert last in [line for line in lines if line][-1]


def stream(server: Server, turn: dict) -> list[str]:
    content = "script: " + json.dumps({"tag": secrets.token_hex(8), "turns": [turn]})
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": content}]}
    with httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [line for line in answer.iter_lines() if line]


def test_a_stream_is_opened_and_kept_alive_before_its_first_event(server: Server) -> None:
    lines = stream(server, {"text": "late", "wait": 2})
    first_event = next(index for index, line in enumerate(lines) if line.startswith("data:"))
    assert lines[:first_event] == [": keep-alive"] * first_event
    assert first_event >= 2
    assert lines[-1] == "data: [DONE]"


def test_a_stream_is_kept_alive_between_two_events(server: Server) -> None:
    lines = stream(server, {"text": "one two", "delay": 1.5})
    assert lines[0].startswith("data:")
    assert ": keep-alive" in lines
    assert lines[-1] == "data: [DONE]"


def test_an_error_of_a_stream_that_was_opened_is_an_event(server: Server) -> None:
    lines = stream(server, {"wait": 1.5, "fail": {"status": 400, "message": "the provider's words"}})
    assert lines[0] == ": keep-alive"
    assert lines[-2] == "event: error"
    assert "the provider's words" in json.loads(lines[-1].removeprefix("data: "))["error"]["message"]
