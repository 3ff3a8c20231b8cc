"""Send a large JSON value between processes in frames, none of which takes long to read."""

from collections.abc import Iterable, Iterator
from typing import Any

import jiter
import orjson

FRAME = 5000
"""Values of a frame at most."""

OPEN_LIST, OPEN_OBJECT, CLOSE, NAME, MEMBERS = b"[", b"{", b"]", b"n", b"m"
"""The first byte of a frame: it opens or closes a container, names the next member, or holds several."""


def to_frames(value: Any) -> Iterator[bytes]:
    """Yield the frames of a value."""
    large: set[int] = set()
    _weigh(value, large)
    yield from _frames([value], large)


def from_frames(frames: Iterable[bytes]) -> Any:
    """Return the value that the frames hold."""
    root: list[Any] = []
    containers: list[Any] = [root]
    name = ""
    for frame in frames:
        kind, data = frame[:1], frame[1:]
        if kind == NAME:
            name = data.decode()
        elif kind == CLOSE:
            containers.pop()
        elif kind == MEMBERS:
            _extend(containers[-1], jiter.from_json(data, cache_mode="keys"))
        else:
            opened: Any = [] if kind == OPEN_LIST else {}
            _extend(containers[-1], [opened] if type(containers[-1]) is list else {name: opened})
            containers.append(opened)
    return root[0]


def _extend(container: Any, members: Any) -> None:
    if type(container) is list:
        container.extend(members)
    else:
        container.update(members)


def _weigh(value: Any, large: set[int]) -> int:
    """Return how many values there are in `value`, and add the ids of containers of too many to `large`."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return 1
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
            yield OPEN_OBJECT if type(member) is dict else OPEN_LIST
            yield from _frames(member, large)
            yield CLOSE
        else:
            _extend(batch, {name: member} if type(container) is dict else [member])
            weight += added
    if batch:
        yield MEMBERS + orjson.dumps(batch)


def _empty(container: Any) -> Any:
    return {} if type(container) is dict else []
