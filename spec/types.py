"""Types that the modules of spec share."""

from collections.abc import Iterator
from typing import Any

JSON = dict[str, Any]


def objects_within(value: Any) -> Iterator[JSON]:
    """Yield every object of a JSON value, itself included."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            yield one
            todo += one.values()
        elif isinstance(one, list):
            todo += one
