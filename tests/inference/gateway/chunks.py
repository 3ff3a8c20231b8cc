"""Chunks of streams that a provider is scripted to send, and what engine and clients make of them."""

import re
from collections.abc import Callable
from typing import Any

import orjson

from inference.gateway import ChunkAccumulator, Gateway
from persistence.types import JSON

Ask = Callable[..., JSON]
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: Any, finish: Any = None, **fields: Any) -> JSON:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def events(*chunks: JSON, done: bool = True) -> str:
    return "".join(f"data: {orjson.dumps(c).decode()}\n\n" for c in chunks) + (
        "data: [DONE]\n\n" if done else ""
    )


HELLO = [chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop")]


def comparable(completion: JSON) -> str:
    """The messages, without the ids that the server made up."""
    messages = orjson.dumps([choice["message"] for choice in completion["choices"]]).decode()
    return re.sub(r"call_\w{24}", "call_x", messages)


async def whole(gateway: Gateway, request: JSON) -> JSON:
    """The completion that the engine reads, and the one that a client of the relay reads: the same."""
    accumulator = ChunkAccumulator()
    async for value in gateway.chunks(request):
        accumulator.add(value)
    relayed = ChunkAccumulator()
    frames = b"".join([frames async for frames in gateway.relay(request)])
    assert frames.count(b"[DONE]") == 1
    assert frames.endswith(b"data: [DONE]\n\n")
    for frame in frames.split(b"\n\n")[:-2]:
        relayed.add(orjson.loads(frame.removeprefix(b"data: ")))
    completion = accumulator.completion()
    assert comparable(relayed.completion()) == comparable(completion)
    return completion


async def text_of(gateway: Gateway, request: JSON) -> str:
    return str((await whole(gateway, request))["choices"][0]["message"]["content"])


def calls(*deltas: Any, finish: str | None = "tool_calls") -> str:
    return events(*[chunk({"tool_calls": [delta]}) for delta in deltas], chunk({}, finish))
