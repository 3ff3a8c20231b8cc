import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import aiohttp
import orjson
import pytest

from inference.errors import (
    ProviderBroken,
    ProviderLimited,
    ProviderRejected,
    ProviderTimeout,
)
from inference.gateway import Gateway, Routes
from inference.gateway.routing.routes import Route
from persistence.types import JSON
from tests.inference.gateway.conftest import KEY
from tests.provider import ProviderProcess

Ask = Callable[..., JSON]


async def disconnected(provider: ProviderProcess, tag: str) -> JSON:
    """The one request of that tag, once the provider has seen its client hang up."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        (record,) = provider.received(tag)
        if record["ended"] is not None:
            return record
        await asyncio.sleep(0.02)
    raise AssertionError("the provider still waits for its client")


def only(target_changes: JSON, provider: ProviderProcess) -> Gateway:
    """A gateway to the provider with another timeout or number of attempts."""
    routes = Routes.from_environment(KEY, provider.url)
    (target,) = routes.routes["*"].targets
    return Gateway(replace(routes, routes={"*": Route("*", "chat", (replace(target, **target_changes),))}))


async def test_a_completion_is_the_providers_with_missing_fields_filled_in(
    gateway: Gateway, ask: Ask
) -> None:
    answer = await gateway.complete(ask(text="Hello there."))
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello there.", "refusal": None}
    assert choice["logprobs"] is None
    assert answer["usage"]["completion_tokens"] == 2


async def test_every_field_reaches_the_provider_and_the_request_is_not_changed(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    fields = {
        "temperature": 0.5,
        "logit_bias": {"7": -1},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "reasoning_effort": "low",
        "a_field_of_tomorrow": [1],
    }
    request = ask(fields=fields, text="x")
    before = orjson.dumps(request)
    await gateway.complete(request)
    (record,) = provider.received(tag)
    assert record["body"] == request
    assert record["headers"]["authorization"] == f"Bearer {KEY}"
    assert orjson.dumps(request) == before


async def test_images_are_passed_on_unchanged(
    gateway: Gateway, provider: ProviderProcess, ask: Ask, tag: str
) -> None:
    request = ask(text="A cat.")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    content = [{"type": "text", "text": request["messages"][0]["content"]}, image]
    request["messages"] = [{"role": "user", "content": content}]
    await gateway.complete(request)
    assert provider.received(tag)[0]["body"]["messages"][0]["content"][1] == image


async def test_a_stream_is_relayed_byte_for_byte(
    gateway: Gateway, ask: Ask, provider: ProviderProcess
) -> None:
    request = ask(text="one two three é漢字 " * 50, fields={"stream_options": {"include_usage": True}})
    relayed = b"".join([frames async for frames in gateway.relay(request)])
    body = orjson.dumps({**request, "stream": True})
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{provider.url}/chat/completions", data=body) as answer,
    ):
        assert relayed == await answer.read()
    assert relayed.endswith(b"data: [DONE]\n\n")


async def test_each_item_of_a_stream_is_whole_events(gateway: Gateway, ask: Ask) -> None:
    async for frames in gateway.relay(ask(text="word " * 2000, delay=0)):
        assert frames.startswith(b"data: ")
        assert frames.endswith(b"\n\n")


async def test_a_piece_arrives_before_the_next_one_is_sent(gateway: Gateway, ask: Ask) -> None:
    stream = gateway.relay(ask(text="first second", stall_after=1))
    seen = b""
    while b"first" not in seen:
        seen += await asyncio.wait_for(anext(stream), 5)
    assert b"second" not in seen
    await stream.aclose()


async def test_closing_a_stream_closes_the_providers_response_at_once(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    stream = gateway.relay(ask(text="a b c", stall_after=1))
    await anext(stream)
    await stream.aclose()
    assert (await disconnected(provider, tag))["ended"] == "disconnected"


async def test_cancelling_a_completion_closes_the_providers_response_at_once(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    task = asyncio.ensure_future(gateway.complete(ask(text="late", wait=60)))
    while not provider.received(tag):
        await asyncio.sleep(0.01)
    task.cancel()
    assert (await disconnected(provider, tag))["ended"] == "disconnected"


async def test_a_connection_is_reused_after_a_stream(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    for _ in range(3):
        assert [frames async for frames in gateway.relay(ask(text="x"))]
    assert len({record["connection"] for record in provider.received(tag)}) == 1


async def test_chunks_are_the_parsed_events(gateway: Gateway, ask: Ask) -> None:
    fields = {"stream_options": {"include_usage": True}}
    chunks = [chunk async for chunk in gateway.chunks(ask(fields=fields, text="Hello there."))]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == "Hello there."
    assert chunks[-1]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"close_after": 2}, "closed the stream"),
        ({"close_after": 2, "reset": True}, "closed"),
        ({"garbage_after": 2}, "cannot be read"),
    ],
)
async def test_a_stream_that_breaks_ends_with_an_error_event(
    gateway: Gateway, ask: Ask, turn: JSON, reason: str
) -> None:
    frames = [frames async for frames in gateway.relay(ask(text="a b c d", delay=0.01, **turn))]
    error = orjson.loads(frames[-1].removeprefix(b"data: "))["error"]
    assert error["type"] == "server_error"
    assert reason in error["message"]
    assert b"[DONE]" not in b"".join(frames)
    with pytest.raises(ProviderBroken):
        [chunk async for chunk in gateway.chunks(ask(text="a b c d", delay=0.01, **turn))]


async def test_an_error_event_is_relayed_and_raised_for_chunks(gateway: Gateway, ask: Ask) -> None:
    turn = {"text": "a b c d", "error_after": 2, "delay": 0.01}
    frames = b"".join([frames async for frames in gateway.relay(ask(**turn))])
    assert b"broke in mid-stream" in frames
    with pytest.raises(ProviderBroken, match="broke in mid-stream"):
        [chunk async for chunk in gateway.chunks(ask(**turn))]


async def test_a_stream_without_done_is_complete_after_its_finish_reason(gateway: Gateway, ask: Ask) -> None:
    frames = b"".join([frames async for frames in gateway.relay(ask(text="a b", done=False))])
    assert frames.endswith(b"data: [DONE]\n\n")
    assert frames.count(b"[DONE]") == 1


async def test_silence_for_longer_than_the_timeout_ends_a_stream(ask: Ask, provider: ProviderProcess) -> None:
    gateway = only({"read_timeout": 0.3}, provider)
    await gateway.open()
    turn = {"text": "a b c", "stall_after": 1}
    frames = [frames async for frames in gateway.relay(ask(**turn))]
    assert b"sent nothing for 0.3 seconds" in frames[-1]
    with pytest.raises(ProviderTimeout):
        [chunk async for chunk in gateway.chunks(ask(**turn))]
    await gateway.close()


async def test_silence_before_the_first_byte_is_not_retried(
    ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    gateway = only({"read_timeout": 0.3}, provider)
    await gateway.open()
    with pytest.raises(ProviderTimeout) as caught:
        await anext(gateway.relay(ask(text="late", wait=5)))
    assert caught.value.status == 504
    assert len(provider.received(tag)) == 1
    await gateway.close()


@pytest.mark.parametrize("status", [429, 500, 503, 0])
async def test_a_failure_before_the_first_byte_is_retried(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str, status: int
) -> None:
    fail = {"status": status, "times": 1}
    assert (await gateway.complete(ask(text="Yes.", fail=fail)))["choices"][0]["message"]["content"] == "Yes."
    assert len(provider.received(tag)) == 2


async def test_a_stream_that_cannot_start_is_retried(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    frames = [f async for f in gateway.relay(ask(text="Yes.", fail={"status": 503, "times": 1}))]
    assert b"Yes." in b"".join(frames)
    assert len(provider.received(tag)) == 2


async def test_retry_after_is_waited_for(gateway: Gateway, ask: Ask) -> None:
    begun = time.monotonic()
    await gateway.complete(ask(text="Yes.", fail={"status": 429, "times": 1, "retry_after": 1}))
    assert time.monotonic() - begun >= 1


async def test_a_long_retry_after_is_returned_to_the_client(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    fail = {"status": 429, "retry_after": 3600, "message": "Come back later", "code": "rate_limit_exceeded"}
    with pytest.raises(ProviderLimited, match="Come back later") as caught:
        await gateway.complete(ask(fail=fail))
    assert caught.value.retry_after == 3600
    assert len(provider.received(tag)) == 1


async def test_an_error_of_the_request_is_not_retried(
    gateway: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    fail = {"status": 400, "message": "No such thing", "type": "invalid_request_error", "code": "odd"}
    with pytest.raises(ProviderRejected, match="No such thing") as caught:
        await gateway.complete(ask(fail=fail))
    assert (caught.value.status, caught.value.body["code"]) == (400, "odd")
    assert len(provider.received(tag)) == 1


@pytest.mark.parametrize("body", [f"Bad key {KEY}", f'{{"error": {{"message": "Bad key {KEY}"}}}}'])
async def test_a_key_in_an_error_is_never_shown(gateway: Gateway, ask: Ask, body: str) -> None:
    with pytest.raises(ProviderRejected) as caught:
        await gateway.complete(ask(fail={"status": 401, "body": body}))
    assert caught.value.message == "Bad key ***"
    assert KEY not in repr(caught.value.body)


async def test_a_key_in_a_stream_is_never_shown(gateway: Gateway, ask: Ask) -> None:
    frames = b"".join([f async for f in gateway.relay(ask(text=f"It is {KEY}"))])
    assert KEY.encode() not in frames
    assert b"***" in frames


@pytest.mark.parametrize("body", ["<html>", "", "[1]", '{"choices": 1}', '{"choices": [{}]}'])
async def test_an_unreadable_answer_is_a_providers_error(
    ask: Ask, provider: ProviderProcess, body: str
) -> None:
    gateway = only({"attempts": 1}, provider)
    await gateway.open()
    with pytest.raises(ProviderBroken, match="cannot be read") as caught:
        await gateway.complete(ask(fail={"status": 200, "body": body}))
    assert caught.value.status == 502
    with pytest.raises(ProviderBroken, match="cannot be read"):
        await anext(gateway.relay(ask(fail={"status": 200, "body": body})))
    await gateway.close()


async def test_a_redirect_is_not_followed(ask: Ask, provider: ProviderProcess) -> None:
    gateway = only({"attempts": 1}, provider)
    await gateway.open()
    with pytest.raises(ProviderBroken, match="the unexpected status 302"):
        await gateway.complete(ask(fail={"status": 302}))
    await gateway.close()


async def test_an_unreachable_provider_is_reported(ask: Ask, provider: ProviderProcess) -> None:
    gateway = only({"attempts": 1, "base_url": "http://127.0.0.1:1/v1"}, provider)
    await gateway.open()
    with pytest.raises(ProviderBroken, match="cannot be reached") as caught:
        await gateway.complete(ask(text="x"))
    assert caught.value.status == 502
    await gateway.close()


async def test_a_huge_answer_arrives_complete(gateway: Gateway, ask: Ask) -> None:
    text = "0123456789" * 1_000
    length = 0
    async for chunk in gateway.chunks(ask(text=text, repeat=500, chunks=40)):
        length += len(chunk["choices"][0]["delta"].get("content") or "")
    assert length == 5_000_000
