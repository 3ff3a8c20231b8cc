"""Streams that end early or with an error, and keys that a provider repeats in them."""

from typing import Any

import orjson
import pytest

from inference.errors import (
    ProviderBroken,
    ProviderError,
    ProviderLimited,
    ProviderRejected,
)
from inference.gateway import Gateway, Routes
from tests.inference.gateway.chunks import HEAD, HELLO, Ask, chunk, events, text_of
from tests.inference.gateway.conftest import KEY
from tests.provider import ProviderProcess

# --- ends ---


@pytest.mark.parametrize(
    "raw",
    [
        events(*HELLO[:2], done=False),
        events({**HEAD, "choices": [], "prompt_filter_results": []}, done=False),
        events({**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": ""}]}, done=False),
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_stream_that_was_cut_off_says_so(gateway: Gateway, ask: Ask, raw: str, reset: bool) -> None:
    with pytest.raises(ProviderBroken, match="closed the stream before its end"):
        [value async for value in gateway.chunks(ask(raw=raw, reset=reset))]
    frames = [frames async for frames in gateway.relay(ask(raw=raw, reset=reset))]
    assert b"closed the stream before its end" in frames[-1]
    assert b"[DONE]" not in b"".join(frames)


async def test_a_connection_lost_after_the_finish_reason_is_no_error(gateway: Gateway, ask: Ask) -> None:
    assert await text_of(gateway, ask(raw=events(*HELLO, done=False), reset=True)) == "Hello"


# --- errors ---

ERRORS: dict[str, tuple[str, type[ProviderError], int, str]] = {
    "OpenAI's": ('data: {"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}\n\n', ProviderLimited, 429, "Slow down"),
    "an id first": ('data: {"id": "x", "error": {"message": "No", "code": 400}}\n\n', ProviderRejected, 400, "No"),
    "vLLM's": ('data: {"object": "error", "message": "Too long", "type": "BadRequestError", "code": 400}\n\n', ProviderRejected, 400, "Too long"),
    "Anthropic's": ('event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}\n\n', ProviderBroken, 503, "Busy"),
    "a text": ('data: {"error": "It broke"}\n\n', ProviderBroken, 502, "It broke"),
    "a list": ('data: [{"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}]\n\n', ProviderLimited, 429, "Quota"),
    "a code beside": ('data: {"error": {"message": "Later"}, "code": 429}\n\n', ProviderLimited, 429, "Later"),
    "words alone": ('event: error\ndata: {"message": "Words"}\n\n', ProviderBroken, 502, "Words"),
    "a list of errors": ('data: {"success": false, "errors": [{"code": 7003, "message": "No route"}]}\n\n', ProviderBroken, 502, "No route"),
    "a status code beside": ('data: {"statusCode": 429, "message": "Later"}\n\n', ProviderLimited, 429, "Later"),
    "an error in an error": ('data: {"error": {"error": {"message": "Inner", "code": 400}}}\n\n', ProviderRejected, 400, "Inner"),
    "a description": ('data: {"error": "invalid_token", "error_description": "It expired"}\n\n', ProviderBroken, 502, "It expired"),
    "detail": ('data: {"detail": "Not for you"}\n\n', ProviderBroken, 502, "Not for you"),
    "no data:": ('{"error": {"message": "Bare", "code": 500}}\n\n', ProviderBroken, 500, "Bare"),
    "a whole answer": ('{"error": {"message": "Whole", "code": 429}}', ProviderLimited, 429, "Whole"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_as_first_event_is_the_answers_status(gateway: Gateway, ask: Ask, name: str) -> None:
    raw, kind, status, words = ERRORS[name]
    for attempt in (anext(gateway.relay(ask(raw=raw))), anext(gateway.chunks(ask(raw=raw)))):
        with pytest.raises(kind, match=words) as caught:
            await attempt
        assert caught.value.status == status


@pytest.mark.parametrize("name", ["OpenAI's", "vLLM's", "no data:"])
async def test_a_later_error_is_an_error_event(gateway: Gateway, ask: Ask, name: str) -> None:
    raw, kind, _, words = ERRORS[name]
    raw = events(HELLO[0], done=False) + raw
    *_, last = [frames async for frames in gateway.relay(ask(raw=raw))]
    assert words in orjson.loads(last.removeprefix(b"data: "))["error"]["message"]
    with pytest.raises(kind, match=words):
        [value async for value in gateway.chunks(ask(raw=raw))]


async def test_a_fallback_answers_if_the_first_event_is_an_error(
    provider: ProviderProcess, tag: str, tmp_path: Any
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers: {{p: {{base_url: "{provider.url}", retries: 0}}}}
models: {{first: {{provider: p, fallbacks: [second]}}, second: {{provider: p}}}}
""")
    gateway = Gateway(Routes.from_file(path, {}))
    await gateway.open()
    turns = {
        "first": [{"raw": ERRORS["vLLM's"][0].replace("400", "503")}],
        "second": [{"raw": events(*HELLO)}],
    }
    script = orjson.dumps({"tag": tag, "by_model": turns}).decode()
    request = {"model": "first", "messages": [{"role": "user", "content": f"script: {script}"}]}
    assert await text_of(gateway, request) == "Hello"
    await gateway.close()


# --- keys ---

SPELLINGS = {
    "plain": KEY,
    "JSON": KEY.replace("-", "\\u002d"),
    "JSON twice": KEY.replace("-", "\\\\u002D"),
    "a URL's": KEY.replace("-", "%2D"),
    "HTML": KEY.replace("-", "&#45;"),
    "HTML in hexadecimals": KEY.replace("-", "&#x2D;"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_key_is_never_shown_however_it_is_spelled(gateway: Gateway, ask: Ask, spelling: str) -> None:
    key = SPELLINGS[spelling]
    error = f'{{"error": {{"message": "Bad {key}", "type": "t {key}", "code": "c {key}"}}}}'
    answers = [
        ask(raw=error, status=401),
        ask(raw=f"Bad {key}\n", status=401),
        ask(raw=f"data: {error}\n\n"),
        ask(raw=events(HELLO[0], chunk({"content": "It is @"}), chunk({}, "stop")).replace("@", key)),
        ask(raw=events(HELLO[0], done=False) + f"data: {error}\n\n"),
    ]
    for request in answers:
        shown = ""
        try:
            shown = b"".join([frames async for frames in gateway.relay(request)]).decode()
        except ProviderError as exc:
            shown = f"{exc.message} {exc.body}"
        assert "***" in shown
        assert "operators" not in shown


async def test_a_key_in_a_whole_answer_is_never_shown(gateway: Gateway, ask: Ask) -> None:
    answer = await gateway.complete(ask(text=f"It is {KEY}."))
    assert answer["choices"][0]["message"]["content"] == "It is ***."
