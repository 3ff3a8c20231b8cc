"""Send a large JSON value between processes in frames, none of which takes long to read."""

from collections.abc import Iterable, Iterator
from typing import Any

import jiter
import orjson

FRAME = 5000
"""Values of a frame at most."""

CHARACTERS = 100
"""Characters of a string that count as one value."""

OPEN_LIST, OPEN_OBJECT, CLOSE, NAME, MEMBERS, TEXT, END_OF_TEXT = b"[", b"{", b"]", b"n", b"m", b"t", b"."
"""The first byte of a frame.

It opens or closes a container, names the next member, holds several members or a part of a long text, or
ends that text.
"""


def to_frames(value: Any) -> Iterator[bytes]:
    """Yield the frames of a value."""
    large: set[int] = set()
    _weigh(value, large)
    yield from _frames([value], large)


def from_frames(frames: Iterable[bytes]) -> Any:
    """Return the value that the frames hold."""
    root: list[Any] = []
    containers: list[Any] = [root]
    text: list[str] = []
    name = ""
    for frame in frames:
        kind, data = frame[:1], frame[1:]
        if kind == NAME:
            name = data.decode()
        elif kind == TEXT:
            text.append(data.decode())
        elif kind == MEMBERS:
            _extend(containers[-1], jiter.from_json(data, cache_mode="keys"))
        elif kind == END_OF_TEXT:
            _add(containers[-1], name, "".join(text))
            text.clear()
        elif kind == CLOSE:
            containers.pop()
        else:
            opened: Any = [] if kind == OPEN_LIST else {}
            _add(containers[-1], name, opened)
            containers.append(opened)
    return root[0]


def _add(container: Any, name: str, member: Any) -> None:
    _extend(container, [member] if type(container) is list else {name: member})


def _extend(container: Any, members: Any) -> None:
    if type(container) is list:
        container.extend(members)
    else:
        container.update(members)


def _weigh(value: Any, large: set[int]) -> int:
    """Return how many values there are in `value`, and add to `large` the ids of what has too many."""
    kind = type(value)
    if kind is str:
        weight = 1 + len(value) // CHARACTERS
    elif kind is not dict and kind is not list:
        return 1
    else:
        weight = 1 + sum(_weigh(member, large) for member in (value.values() if kind is dict else value))
    if weight > FRAME:
        large.add(id(value))
    return weight


def _frames(container: Any, large: set[int]) -> Iterator[bytes]:
    """Yield the frames of a container's members."""
    batch, weight = _empty(container), 0
    for name, member in container.items() if type(container) is dict else enumerate(container):
        added = _weigh(member, large)
        if batch and weight + added > FRAME:
            yield MEMBERS + orjson.dumps(batch)
            batch, weight = _empty(container), 0
        if id(member) in large:
            if type(container) is dict:
                yield NAME + str(name).encode()
            yield from _long_text(member) if type(member) is str else _container(member, large)
        else:
            _extend(batch, {name: member} if type(container) is dict else [member])
            weight += added
    if batch:
        yield MEMBERS + orjson.dumps(batch)


def _container(member: Any, large: set[int]) -> Iterator[bytes]:
    yield OPEN_OBJECT if type(member) is dict else OPEN_LIST
    yield from _frames(member, large)
    yield CLOSE


def _long_text(text: str) -> Iterator[bytes]:
    size = FRAME * CHARACTERS
    for start in range(0, len(text), size):
        yield TEXT + text[start : start + size].encode()
    yield END_OF_TEXT


def _empty(container: Any) -> Any:
    return {} if type(container) is dict else []
