"""Finds a string of megabytes that is too long, without having it explained.

jsonschema-rs copies a string into each error of each branch of a union: for an image of 20 MB in one of
thirty kinds of items that took 25 s.
"""

from collections.abc import Callable, Iterator
from typing import Any

LONG = 1_100_000
"""Characters above which a string is handled here; there are few such strings in a body, and few limits."""

Path = tuple[str | int, ...]


def too_long(value: Any, fits: Callable[[Any], bool], schema: Callable[[], Any]) -> tuple[Path, int] | None:
    """Return the path of a string that makes `value` invalid by its length alone, and its limit.

    None where there is another fault, or no such string. `schema` returns what `fits` was compiled from.
    """
    paths = [path for path, text in strings(value) if len(text) > LONG]
    if not paths:
        return None
    root = [_copied(value)]
    if not fits(root[0]):
        return None
    for path in paths:
        holder: Any = root
        for step in (0, *path)[:-1]:
            holder = holder[step]
        key: Any = (0, *path)[-1]
        short, text = holder[key], _at(value, path)
        holder[key] = text
        if not fits(root[0]):
            for limit in sorted(_limits(schema()), reverse=True):
                holder[key] = text[:limit]
                if limit < len(text) and fits(root[0]):
                    return path, limit
            return None
        holder[key] = short
    return None


def strings(value: Any) -> Iterator[tuple[Path, str]]:
    """Yield each string within a JSON value, with its path."""
    todo: list[tuple[Path, Any]] = [((), value)]
    while todo:
        path, one = todo.pop()
        if isinstance(one, str):
            yield path, one
        elif isinstance(one, dict | list):
            members = one.items() if isinstance(one, dict) else enumerate(one)
            todo += [
                ((*path, name), member) for name, member in members if isinstance(member, str | dict | list)
            ]


def _copied(value: Any) -> Any:
    """Return a copy whose long strings are cut."""
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_copied(one) for one in value]
    return value[:LONG] if isinstance(value, str) else value


def _at(value: Any, path: Path) -> str:
    for step in path:
        value = value[step]
    return str(value)


def _limits(schema: Any) -> set[int]:
    """Return the lengths above LONG to which a schema bounds strings."""
    found: set[int] = set()
    todo = [schema]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            limit = one.get("maxLength")
            if isinstance(limit, int) and limit > LONG:
                found.add(limit)
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found
