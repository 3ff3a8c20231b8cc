"""Tool calls and texts in the forms that real providers stream them."""

from typing import Any

import pytest

from inference.gateway import Gateway
from persistence.types import JSON
from tests.inference.gateway.chunks import HEAD, HELLO, Ask, calls, chunk, events, text_of, whole

# --- tool calls ---


def delta(index: Any = ..., id: Any = ..., name: Any = ..., arguments: Any = ...) -> JSON:
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not ...}
    found = {k: v for k, v in (("index", index), ("id", id)) if v is not ...}
    return {**found, **({"function": function} if function else {})}


TOLD_APART: dict[str, tuple[list[JSON], list[tuple[str, str, str]]]] = {
    "as OpenAI": (
        [delta(0, "c1", "f", ""), delta(0, arguments='{"a"'), delta(0, arguments=":1}"), delta(1, "c2", "g", ""),
         delta(1, arguments="{}")],
        [("c1", "f", '{"a":1}'), ("c2", "g", "{}")],
    ),
    "one index for all": (
        [delta(0, "c1", "f", '{"a":1}'), delta(0, "c2", "g", '{"b":2}'), delta(0, "c3", "h")],
        [("c1", "f", '{"a":1}'), ("c2", "g", '{"b":2}'), ("c3", "h", "{}")],
    ),
    "no index": (
        [delta(id="c1", name="f", arguments='{"a"'), delta(arguments=":1}"), delta(id="c2", name="g", arguments="{}")],
        [("c1", "f", '{"a":1}'), ("c2", "g", "{}")],
    ),
    "null as index": (
        [delta(None, "c1", "f", ""), delta(None, None, None, "{}"), delta(None, "c2", "f", "{}")],
        [("c1", "f", "{}"), ("c2", "f", "{}")],
    ),
    "no ids": (
        [delta(0, name="f", arguments='{"a":1}'), delta(0, name="g", arguments="{}"), delta(0, name="g", arguments="{}")],
        [("", "f", '{"a":1}'), ("", "g", "{}"), ("", "g", "{}")],
    ),
    "neither index nor id": (
        [delta(name="f", arguments=""), delta(arguments="{"), delta(arguments="}"), delta(name="g")],
        [("", "f", "{}"), ("", "g", "{}")],
    ),
    "empty texts": (
        [delta(0, "c1", "f", ""), delta(0, "", "", "{"), delta(0, "", "", "}")], [("c1", "f", "{}")],
    ),
    "all repeated": (
        [delta(0, "c1", "f", '{"a'), delta(0, "c1", "f", '":'), delta(0, "c1", "f", "1}")], [("c1", "f", '{"a":1}')],
    ),
    "a name in pieces": (
        [delta(0, "c1", "get_"), delta(0, name="weather"), delta(0, arguments="{}")], [("c1", "get_weather", "{}")],
    ),
    "a new id for each piece": (
        [delta(0, "c1", "f", ""), delta(0, "x2", None, "{"), delta(0, "x3", None, "}")], [("c1", "f", "{}")],
    ),
    "interleaved": (
        [delta(0, "c1", "f", ""), delta(1, "c2", "g", ""), delta(0, arguments="{}"), delta(1, arguments='{"b":1}')],
        [("c1", "f", "{}"), ("c2", "g", '{"b":1}')],
    ),
    "one id for all": (
        [delta(0, "c1", "f", "{}"), delta(1, "c1", "g", "{}")], [("c1", "f", "{}"), ("", "g", "{}")],
    ),
    "blank arguments": ([delta(0, "c1", "f", " ")], [("c1", "f", "{}")]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD_APART)
async def test_tool_calls_are_told_apart(gateway: Gateway, ask: Ask, name: str) -> None:
    deltas, expected = TOLD_APART[name]
    request = ask(raw=calls(*deltas))
    (choice,) = (await whole(gateway, request))["choices"]
    found = choice["message"]["tool_calls"]
    ids = [call["id"] for call in found]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    shown = [(call["id"], call["function"]["name"], call["function"]["arguments"].strip()) for call in found]
    assert [(want[0] or got[0], *want[1:]) for want, got in zip(expected, shown, strict=True)] == shown
    seen: set[int] = set()
    async for value in gateway.chunks(request):
        for part in value["choices"][0]["delta"].get("tool_calls", ()):
            assert isinstance(part["function"]["arguments"], str)
            assert ("id" in part) is ("name" in part["function"]) is (part["index"] not in seen)
            seen.add(part["index"])


async def test_unknown_fields_of_a_call_stay(gateway: Gateway, ask: Ask) -> None:
    extra = {"google": {"thought_signature": "abc"}}
    request = ask(raw=calls({**delta(0, "c1", "f", "{}"), "extra_content": extra}))
    (call,) = (await whole(gateway, request))["choices"][0]["message"]["tool_calls"]
    assert call["extra_content"] == extra


# --- texts ---


async def test_a_surrogate_pair_split_over_two_chunks_is_joined(gateway: Gateway, ask: Ask) -> None:
    raw = events(
        HELLO[0],
        chunk({"content": "@1"}),
        chunk({"content": "@2!"}),
        chunk({"content": "@1"}),
        chunk({}, "stop"),
    )
    raw = raw.replace("@1", "\\ud83d").replace("@2", "\\ude00")
    assert await text_of(gateway, ask(raw=raw)) == "Hel😀!\ufffd"


async def test_infinite_logprobs_do_not_fail_an_answer(gateway: Gateway, ask: Ask) -> None:
    logprobs = {
        "content": [{"token": "Hel", "logprob": "@", "bytes": None, "top_logprobs": []}],
        "refusal": None,
    }
    first = {
        **HEAD,
        "choices": [{"index": 0, "delta": {"content": "Hel"}, "logprobs": logprobs, "finish_reason": None}],
    }
    raw = events(first, *HELLO[1:]).replace('"@"', "-Infinity")
    completion = await whole(gateway, ask(raw=raw))
    assert completion["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0
    assert completion["choices"][0]["message"]["content"] == "Hello"


async def test_text_with_quotes_and_escapes_is_relayed_unchanged(gateway: Gateway, ask: Ask) -> None:
    pieces = ["plain", ' "quoted"', " back\\slash", "\n", "é漢", '"}}]}', "", " end"]
    raw = events(*[chunk({"content": piece}) for piece in pieces], chunk({}, "stop"))
    assert await text_of(gateway, ask(raw=raw)) == "".join(pieces)
    assert b"".join([frames async for frames in gateway.relay(ask(raw=raw))]) == raw.encode()


async def test_odd_chunks_among_plain_text_are_kept(gateway: Gateway, ask: Ask) -> None:
    texts = ["a", "b", "c", 'q"', "d", "e", "\\", "f", "", "g", "h"]
    chunks = [chunk({"content": text}) for text in texts]
    chunks.insert(5, chunk({"content": [{"type": "text", "text": "PART"}]}))
    chunks.insert(9, chunk({"content": "late"}, usage={"prompt_tokens": 1}))
    raw = events(*chunks, chunk({}, "stop"))
    for size in (None, 50, 333, 1000):
        assert await text_of(gateway, ask(raw=raw, raw_size=size)) == 'abcq"dPARTe\\flategh'
