"""Streams in the forms that real providers send, and what clients and runs get."""

import asyncio
import time
from itertools import pairwise
from typing import Any

import orjson
import pytest

from inference.errors import (
    ProviderBroken,
    ProviderLimited,
    ProviderUnreadable,
)
from inference.gateway import Gateway
from inference.gateway.answers import streams
from inference.gateway.answers.streams import CompletionStream
from inference.gateway.driver import MadeResponse, one_piece
from inference.gateway.paths import CHAT, COMPLETIONS
from inference.gateway.routing.targets import Target
from persistence.types import JSON
from tests.inference.gateway.chunks import HEAD, HELLO, Ask, calls, chunk, events, text_of, whole
from tests.provider import ProviderProcess


def lines(text: str) -> str:
    return events(*HELLO).replace("\n", text)


SOUND = {
    "as OpenAI": events(*HELLO),
    "no blank behind data:": events(*HELLO).replace("data: ", "data:"),
    "CRLF": lines("\r\n"),
    "CR": lines("\r"),
    "blanks at the end": events(*HELLO).replace("\n\n", " \t\n\n"),
    "a byte order mark": "\ufeff" + events(*HELLO),
    "comments": ": OPENROUTER PROCESSING\n\n" + events(*HELLO).replace("\n\n", "\n\n: keep-alive\n\n:\n\n\n\n"),
    "ping events": 'event: ping\ndata: {"type": "ping"}\n\n' + events(*HELLO).replace("data: [", "event: ping\n\ndata: ["),
    "unknown fields": events(*HELLO).replace("data: {", "event: x\nid: 7\nretry: 1\nodd: y\ndata: {"),
    "blanks in the JSON": events(*HELLO).replace('":', '" : ').replace(',"', ' , "').replace("data: {", "data: { "),
    "no [DONE]": events(*HELLO, done=False),
    "no [DONE], no blank line": events(*HELLO, done=False).rstrip("\n"),
    "two [DONE]": events(*HELLO) + "data: [DONE]\n\n",
    "events behind [DONE]": events(*HELLO) + events(chunk({"content": "more"})),
    "no finish reason": events(*HELLO[:2]),
    "Azure's first chunk": events({**HELLO[0], "choices": [], "prompt_filter_results": []}, *HELLO),
    "empty finish reasons": events(chunk({"content": "Hel"}, ""), chunk({"content": "lo"}, ""), chunk({}, "stop")),
    "no head": events(*[{"choices": c["choices"]} for c in HELLO]),
    "an odd head": events(*[{**c, "created": "1700000000.5", "id": None, "object": ""} for c in HELLO]),
    "null choices": events({**HEAD, "choices": None}, *HELLO),
    "null deltas": events(*HELLO[:2], {**HEAD, "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}),
    "parts": events(chunk({"content": [{"type": "text", "text": "Hel"}]}), chunk({"content": ["lo"]}), chunk({}, "stop")),
    "an empty usage": events(*HELLO[:2], chunk({}, "stop", usage={})),
    "a whole answer": orjson.dumps(
        {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
    ).decode(),
}  # fmt: skip


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("name", SOUND)
async def test_every_valid_variant_is_the_same_answer(
    gateway: Gateway, ask: Ask, name: str, size: int | None
) -> None:
    completion = await whole(gateway, ask(raw=SOUND[name], raw_size=size))
    (choice,) = completion["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "stop")


@pytest.mark.parametrize("name", SOUND)
async def test_a_stream_that_nobody_asked_for_is_the_same_answer(
    gateway: Gateway, ask: Ask, name: str
) -> None:
    completion = await gateway.complete(ask(raw=SOUND[name]))
    (choice,) = completion["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "stop")
    assert completion["object"] == "chat.completion"


async def test_a_text_completion_may_be_a_stream_that_nobody_asked_for(gateway: Gateway, tag: str) -> None:
    def part(text: str, finish: str | None, *tokens: str) -> JSON:
        logprobs = {"tokens": list(tokens), "text_offset": [0] * len(tokens)} if tokens else None
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": logprobs}
        return {**HEAD, "object": "text_completion", "choices": [choice]}

    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    raw = events(part("Hel", None, "Hel"), part("lo", "stop", "lo"), {**HEAD, "choices": [], "usage": usage})
    prompt = "script: " + orjson.dumps({"tag": tag, "turns": [{"raw": raw}]}).decode()
    completion = await gateway.forward(COMPLETIONS, {"model": "m", "prompt": prompt})
    logprobs = {"tokens": ["Hel", "lo"], "text_offset": [0, 0]}
    assert completion["choices"] == [
        {"index": 0, "text": "Hello", "finish_reason": "stop", "logprobs": logprobs}
    ]
    assert (completion["object"], completion["usage"]) == ("text_completion", usage)


async def test_an_unasked_stream_fails_as_an_asked_one_does(gateway: Gateway, ask: Ask) -> None:
    raw = events({"error": {"message": "Slow down", "code": 429}}, done=False)
    with pytest.raises(ProviderLimited, match="Slow down"):
        await gateway.complete(ask(raw=raw))
    with pytest.raises(ProviderBroken, match="closed the stream before its end"):
        await gateway.complete(ask(raw=events(HELLO[0], done=False)))


@pytest.mark.parametrize("name", ["newline-delimited JSON", "events parted by one line feed"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_no_event_stream_is_one_request_and_one_error(
    gateway: Gateway, provider: ProviderProcess, ask: Ask, tag: str, name: str, streamed: bool
) -> None:
    lines = [orjson.dumps(c).decode() for c in HELLO]
    raw = "".join(f"{line}\n" if name.startswith("newline") else f"data: {line}\n" for line in lines)
    with pytest.raises(ProviderUnreadable, match="not JSON"):
        await (whole(gateway, ask(raw=raw)) if streamed else gateway.complete(ask(raw=raw)))
    assert len(provider.received(tag)) == 1


@pytest.mark.parametrize("name", SOUND)
def test_an_answer_may_be_split_at_any_byte(name: str) -> None:
    body = SOUND[name].encode()
    for cut in range(len(body)):
        stream = CompletionStream(Target("p", "openai", "m"), CHAT, {})
        read = [*stream.feed(body[:cut]), *stream.feed(body[cut:]), *stream.end()]
        choices = [choice for event in read for choice in event.chunk["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        assert (text, stream.is_done) == ("Hello", True)


TEXTS = ["Hel", "lo", "", "\u00e9\u2028", 'a "quote"', "back\\slash", "\n", " end", " of", " it"]


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("cut", [10_000, 700, 333, 50])
def test_chunks_in_runs_are_those_that_are_read_one_by_one(name: str, cut: int) -> None:
    many = events(*(chunk({"content": text}) for text in TEXTS * 3), chunk({}, "stop"))
    for body in (SOUND[name].encode(), many.encode(), many.replace("\n", "\r\n").encode()):
        together = CompletionStream(Target("p", "openai", "m"), CHAT, {})
        one_by_one = CompletionStream(Target("p", "openai", "m"), CHAT, {})
        for start in range(0, len(body), cut):
            piece = body[start : start + cut]
            assert _chosen(together.chunks(piece)) == _chosen([each.chunk for each in one_by_one.feed(piece)])
        assert together.is_done == one_by_one.is_done


def _chosen(chunks: list[dict[str, Any]]) -> list[Any]:
    return [each["choices"] for each in chunks]


@pytest.mark.parametrize("name", SOUND)
async def test_a_long_piece_is_read_in_parts(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(streams, "PART", 60)
    response = MadeResponse(one_piece(SOUND[name].encode()))
    stream = CompletionStream(Target("p", "openai", "m"), CHAT, {})
    chunks = [chunk async for batch in streams.read_chunks(response, stream) for chunk in batch]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Hello"


async def test_an_answer_that_is_too_long_is_a_providers_error(
    monkeypatch: pytest.MonkeyPatch, gateway: Gateway, ask: Ask
) -> None:
    monkeypatch.setattr("inference.gateway.gateway.LARGEST_COMPLETION", 1_000_000)
    assert (await gateway.complete(ask(text="x" * 900_000)))["choices"]
    with pytest.raises(ProviderUnreadable, match="longer than 1000000 bytes"):
        await gateway.complete(ask(text="x" * 1_100_000))


async def test_other_tasks_have_their_turn_while_chunks_are_read() -> None:
    calls = [{"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(3000)]
    body = events(*(chunk({"tool_calls": [call]}) for call in calls), chunk({}, "tool_calls"))
    stream = CompletionStream(Target("p", "openai", "m"), CHAT, {})
    turns: list[float] = []

    async def take_turns() -> None:
        while True:
            turns.append(time.process_time())
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    await asyncio.sleep(0)
    response = MadeResponse(one_piece(body.encode()))
    read = [len(batch) async for batch in streams.read_chunks(response, stream)]
    await asyncio.sleep(0)
    others.cancel()
    assert sum(read) >= len(calls)
    assert len(turns) > 10
    assert max(later - earlier for earlier, later in pairwise(turns)) < 0.05


def test_half_characters_of_two_text_chunks_are_joined() -> None:
    pieces = ["a\\ud83d", "\\ude00b", "\\ud83d"]
    head = '{"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [{"index": 0, "text": "'
    body = "".join(f'data: {head}{piece}"}}]}}\n\n' for piece in pieces)
    body += f'data: {head}", "finish_reason": "stop"}}]}}\n\ndata: [DONE]\n\n'
    stream = CompletionStream(Target("p", "openai", "m"), COMPLETIONS, {})
    frames = stream.frames(body.encode()).decode().split("\n\n")[:-1]
    texts = [orjson.loads(frame.removeprefix("data: "))["choices"][0]["text"] for frame in frames]
    assert "".join(texts) == "a\U0001f600b\ufffd"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream", ""])
async def test_the_content_type_does_not_matter(gateway: Gateway, ask: Ask, content_type: str) -> None:
    assert await text_of(gateway, ask(raw=SOUND["as OpenAI"], content_type=content_type)) == "Hello"
    assert await text_of(gateway, ask(raw=SOUND["a whole answer"], content_type=content_type)) == "Hello"


async def test_a_whole_answer_to_a_stream_request_has_its_calls_and_usage(gateway: Gateway, ask: Ask) -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    answer = {
        "choices": [{"message": {"content": None, "tool_calls": [call, {**call, "id": "c2"}]}}],
        "usage": usage,
    }
    fields = {"stream_options": {"include_usage": True}}
    completion = await whole(gateway, ask(raw=orjson.dumps(answer).decode(), fields=fields))
    calls = completion["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["arguments"]) for c in calls] == [("c1", '{"a":1}'), ("c2", '{"a":1}')]
    assert completion["choices"][0]["finish_reason"] == "tool_calls"
    assert completion["usage"] == usage


# --- poison ---


POISON = {
    "a number as content": events(chunk({"content": 7}), chunk({}, "stop")),
    "a part that is a number": events(chunk({"content": [7]}), chunk({}, "stop")),
    "null as call": calls(None),
    "a text as calls": events(chunk({"tool_calls": "x"}), chunk({}, "stop")),
    "an integer as call id": calls({"index": 0, "id": 7, "function": {"name": "f", "arguments": "{}"}}),
    "a number as arguments": calls({"index": 0, "id": "c", "function": {"name": "f", "arguments": 7}}),
    "texts in the usage": events(*HELLO, {**HEAD, "choices": [], "usage": {"prompt_tokens": "many"}}),
    "a list as usage": events(*HELLO, {**HEAD, "choices": [], "usage": [1]}),
    "a count below all numbers": events(
        *HELLO, {**HEAD, "choices": [], "usage": {"prompt_tokens": 7}}
    ).replace("7}", "-1e400}"),
    "a count beyond all models": events(*HELLO, {**HEAD, "choices": [], "usage": {"prompt_tokens": 1e40}}),
    "a call without a name": calls({"index": 0, "id": "c", "function": None}),
    "an object as refusal": events(chunk({"refusal": {"a": 1}}), chunk({}, "stop")),
    "an object as content": events(chunk({"content": {"a": 1}}), chunk({}, "stop")),
    "a number as audio's data": events(chunk({"audio": {"data": 1}}), chunk({}, "stop")),
    "an image without a URL": events(chunk({"images": [{"type": "image_url"}]}), chunk({}, "stop")),
    "a text as audio": events(chunk({"audio": "x"}), chunk({}, "stop")),
    "a text as annotations": events(chunk({"content": "x", "annotations": "y"}), chunk({}, "stop")),
    "a text as legacy call": events(chunk({"function_call": "x"}), chunk({}, "stop")),
    "a text as image": events(chunk({"images": ["x"]}), chunk({}, "stop")),
    "a text as logprobs": events(
        {**HEAD, "choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": "y"}]}, chunk({}, "stop")
    ),
    "no JSON": "data: nothing\n\n",
    "half an object": 'data: {"choices": [\n\n',
    "a number": "data: 7\n\n",
    "a text as choices": events({**HEAD, "choices": "x"}),
    "a number as choice": events({**HEAD, "choices": [7]}),
    "a list as delta": events(chunk([1])),
    "HTML": "<html><body>Welcome</body></html>",
    "plain words": "All systems are go",
    "nothing": "",
    "only [DONE]": "data: [DONE]\n\n",
    "a failed answer": events(chunk({"content": "x"}), chunk({}, "error")),
}


@pytest.mark.parametrize("name", POISON)
async def test_an_unreadable_stream_fails_its_request_at_once(
    gateway: Gateway, ask: Ask, name: str, provider: ProviderProcess
) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(ProviderBroken, match="cannot be read") as caught:
            [value async for value in gateway.chunks(ask(raw=POISON[name]))]
    assert caught.value.status == 502


async def test_objects_as_arguments_are_encoded(gateway: Gateway, ask: Ask) -> None:
    delta = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": {"a": [1, "é"]}}}
    completion = await whole(gateway, ask(raw=calls(delta)))
    (call,) = completion["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1,"é"]}'}}


@pytest.mark.parametrize(
    ("given", "standard"),
    [("max_tokens", "length"), ("MAX_TOKENS", "length"), ("sensitive", "content_filter"), ("SAFETY", "content_filter"),
     ("end_turn", "stop"), ("tool_use", "tool_calls"), ("something_new", "stop")],
)  # fmt: skip
async def test_finish_reasons_are_openais(gateway: Gateway, ask: Ask, given: str, standard: str) -> None:
    completion = await whole(gateway, ask(raw=events(HELLO[0], chunk({}, given))))
    assert completion["choices"][0]["finish_reason"] == standard


async def test_a_failed_answer_fails_with_the_providers_words(gateway: Gateway, ask: Ask) -> None:
    failed = chunk({"content": ""}, "error")
    failed["choices"][0]["error"] = {"code": 502, "message": "Upstream fell over"}
    with pytest.raises(ProviderBroken, match="Upstream fell over"):
        [value async for value in gateway.chunks(ask(raw=events(HELLO[0], failed)))]


async def test_usage_is_whole_numbers(gateway: Gateway, ask: Ask) -> None:
    usage = {"prompt_tokens": 3.0, "completion_tokens": 4, "total_tokens": None, "extra": "x"}
    completion = await whole(gateway, ask(raw=events(*HELLO, {**HEAD, "choices": [], "usage": usage})))
    assert completion["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "extra": "x",
    }
