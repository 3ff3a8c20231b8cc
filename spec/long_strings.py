"""Finds a string of megabytes that is too long, without having it explained.

jsonschema-rs copies a string into each error of each branch of a union: for an image of 20 MB in one of
thirty kinds of items that took 25 s.
"""

from collections.abc import Callable, Iterator
from typing import Any

from spec.shrink import Path, cut_strings, value_at
from spec.types import objects_within

LONG = 1_100_000
"""Characters above which a string is handled here; there are few such strings in a body, and few limits."""


def too_long(value: Any, fits: Callable[[Any], bool], schema: Callable[[], Any]) -> tuple[Path, int] | None:
    """Return the path of a string that makes `value` invalid by its length alone, and its limit.

    None where there is another fault, or no such string. `schema` returns what `fits` was compiled from.
    """
    paths = list(_long_strings(value))
    if not paths:
        return None
    root = [cut_strings(value, LONG)]
    if not fits(root[0]):
        return None
    for path in paths:
        *above, key = 0, *path
        holder = value_at(root, tuple(above))
        short, text = holder[key], value_at(value, path)
        holder[key] = text
        if not fits(root[0]):
            for limit in sorted(_limits(schema()), reverse=True):
                holder[key] = text[:limit]
                if limit < len(text) and fits(root[0]):
                    return path, limit
            return None
        holder[key] = short
    return None


def _long_strings(value: Any) -> Iterator[Path]:
    """Yield the path of each string within a JSON value that is longer than LONG."""
    todo: list[tuple[Path, Any]] = [((), value)]
    while todo:
        path, one = todo.pop()
        if isinstance(one, str):
            if len(one) > LONG:
                yield path
        elif isinstance(one, dict | list):
            members = one.items() if isinstance(one, dict) else enumerate(one)
            todo += [
                ((*path, name), member) for name, member in members if isinstance(member, str | dict | list)
            ]


def _limits(schema: Any) -> set[int]:
    """Return the lengths above LONG to which a schema bounds strings."""
    limits = (one.get("maxLength") for one in objects_within(schema))
    return {limit for limit in limits if isinstance(limit, int) and limit > LONG}
