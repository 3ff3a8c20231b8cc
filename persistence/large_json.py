"""Encode and decode JSON of many megabytes in slices, between which the event loop runs.

One call of orjson takes up to 10 ns for each byte, and lets nothing else of the process run meanwhile.
"""

import asyncio
import codecs
import json
import time
from collections.abc import Iterator
from typing import Any

import orjson

LARGE_BYTES = 512 * 1024
"""Bytes above which JSON is decoded in slices."""

SLICE = 128 * 1024
"""Bytes or characters of a slice."""

SECONDS = 0.005
"""How long slices are worked on until the event loop has its turn."""

_CHARACTERS = 64
"""Characters of a string that take as long as one more value."""

_LARGE_WEIGHT = 16_384
"""Values and strings of a container that take about a millisecond to encode."""

_CONTAINERS = (dict, list)
_NUMBERS = frozenset({int, float})


class Pauses:
    """Gives the event loop its turn where a coroutine has worked for some seconds."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = SECONDS if seconds is None else seconds
        self.restart()

    def restart(self) -> None:
        """Begin with the time anew, as the event loop has just had its turn."""
        self._until = time.perf_counter() + self._seconds

    async def pause_if_due(self) -> None:
        """Let the event loop run if that time has passed since it last did."""
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self.restart()


async def dumps(value: Any) -> bytes:
    """Return a value as `orjson.dumps` encodes it."""
    if not is_large(value):
        return orjson.dumps(value)
    pauses, pieces = Pauses(), list[bytes]()
    for piece in _pieces(value):
        pieces.append(piece)
        await pauses.pause_if_due()
    return b"".join(pieces)


async def loads(data: bytes) -> Any:
    """Return the value of JSON that orjson encoded."""
    if len(data) < LARGE_BYTES:
        return orjson.loads(data)
    await asyncio.sleep(0)
    if data.isascii():
        value = orjson.loads(data)
        await asyncio.sleep(0)
        return value
    # For orjson a text of several scripts takes the longest; the standard library reads text that is decoded.
    value = json.loads(await decoded(data))
    await asyncio.sleep(0)
    return value


async def decoded(data: bytes, errors: str = "strict") -> str:
    """Return UTF-8 as text; `errors` are those of `bytes.decode`."""
    pauses, texts = Pauses(), list[str]()
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    for start in range(0, len(data), SLICE):
        texts.append(decoder.decode(data[start : start + SLICE]))
        await pauses.pause_if_due()
    text = "".join(texts) + decoder.decode(b"", final=True)
    await asyncio.sleep(0)
    return text


def is_large(value: Any) -> bool:
    """Return whether encoding a value takes more than about a millisecond."""
    if type(value) is str:
        return len(value) // _CHARACTERS > _LARGE_WEIGHT
    weight, todo = 0, [value] if type(value) in _CONTAINERS else []
    for one in todo:
        weight += len(one)
        if weight > _LARGE_WEIGHT:
            return True
        if type(one) is list and _NUMBERS.issuperset(map(type, one)):
            continue
        for member in one.values() if type(one) is dict else one:
            kind = type(member)
            if kind is str:
                weight += len(member) // _CHARACTERS
            elif kind in _CONTAINERS:
                todo.append(member)
    return weight > _LARGE_WEIGHT


def _pieces(value: Any) -> Iterator[bytes]:
    """Yield the JSON of a large value in pieces."""
    kind = type(value)
    if kind is str:
        yield b'"'
        for start in range(0, len(value), SLICE):
            yield orjson.dumps(value[start : start + SLICE])[1:-1]
        yield b'"'
    elif kind is dict:
        separator = b"{"
        for name, member in value.items():
            yield separator + orjson.dumps(name) + b":"
            yield from _member(member)
            separator = b","
        yield b"}"
    else:
        yield from _list(value)


def _list(values: list[Any]) -> Iterator[bytes]:
    separator = b"["
    for start in range(0, len(values), _CHARACTERS):
        batch = values[start : start + _CHARACTERS]
        if is_large(batch):
            for member in batch:
                yield separator
                yield from _member(member)
                separator = b","
        else:
            yield separator + orjson.dumps(batch)[1:-1]
            separator = b","
    yield b"]"


def _member(value: Any) -> Iterator[bytes]:
    if is_large(value):
        yield from _pieces(value)
    else:
        yield orjson.dumps(value)
