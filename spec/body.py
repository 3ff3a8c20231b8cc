"""Parses a JSON body, and refuses what other parsers or databases could not read.

Refused with 400: malformed JSON, NaN, numbers beyond a double, invalid UTF-8, lone surrogates, a
key given twice in one object, which parsers understand differently (all by jiter or below), null
characters (no database keeps them alike), nesting deeper than 100, objects of more than 10,000
properties (no schema wants them, and each would be an error of its own), names of more than 65,536
characters, and more values than a parser creates in some milliseconds, as it lets no other thread run
meanwhile.
"""

import json
import math
from collections import Counter
from contextlib import suppress
from typing import Any

import jiter

from spec.errors import InvalidRequest
from spec.explain import field_path
from spec.types import JSON
from spec.weight import count, count_outside_strings

MAX_DEPTH = 100
MAX_PROPERTIES = 10_000
MAX_NAME = 65_536
MAX_VALUES = 500_000
MAX_CONTAINERS = 50_000

# A body that is refused and larger than this is not parsed again to name the key given twice.
MAX_SEARCHED = 1_000_000

# Integers up to here are the same as doubles, so that a float may become one.
_EXACT = 2**53

# The range of integers that databases and other parsers keep; larger ones become floats.
_LEAST, _MOST = -(2**63), 2**64 - 1


class _NullCharacter(Exception):
    pass


def parse_json(raw: bytes) -> Any:
    """Return the body as Python data; raise InvalidRequest, naming the field if there is one.

    Whole floats (5.0) are integers, as JSON Schema counts them.
    """
    if len(raw) > MAX_CONTAINERS:
        _check_counts(raw)
    try:
        # Only keys are cached: texts of callers are not kept in memory.
        value = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as exc:
        if len(raw) <= MAX_SEARCHED:
            _refuse_duplicates(raw)
        raise _unparsable(str(exc)) from exc
    holder = [value]
    try:
        _normalize(holder, 0)
    except _NullCharacter:
        raise _null_character(_path_of_null(value)) from None
    return holder[0]


def _check_counts(raw: bytes) -> None:
    """Raise InvalidRequest for more values, or more objects and arrays, than a body may have.

    Marks in strings count only if the others are too many: then the strings are left out.
    """
    if count(raw, b",") < MAX_VALUES and count(raw, b"[") + count(raw, b"{") <= MAX_CONTAINERS:
        return
    commas, brackets = count_outside_strings(raw, MAX_VALUES, MAX_CONTAINERS)
    if commas >= MAX_VALUES:
        message = f"Invalid body: more than {MAX_VALUES:,} values."
        raise InvalidRequest(message, None, "array_above_max_length")
    if brackets > MAX_CONTAINERS:
        message = f"Invalid body: more than {MAX_CONTAINERS:,} objects and arrays."
        raise InvalidRequest(message, None, "array_above_max_length")


def _normalize(value: dict[Any, Any] | list[Any], depth: int) -> None:
    """Normalize the numbers of an object or an array, in place; raise for what is refused.

    One walk: searching the bytes for each of these takes longer, as texts are most of a body.
    """
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"Invalid body: nested deeper than {MAX_DEPTH} levels.", None, "invalid_value")
    if type(value) is dict:
        _check_names(value)
    for name, member in value.items() if type(value) is dict else enumerate(value):
        kind = type(member)
        if kind is str:
            if "\0" in member:
                raise _NullCharacter
        elif kind is dict or kind is list:
            _normalize(member, depth + 1)
        elif kind is int:
            if not _LEAST <= member <= _MOST:
                value[name] = _as_float(member)
        elif kind is float:
            value[name] = _whole(member)


def _check_names(value: JSON) -> None:
    if len(value) > MAX_PROPERTIES:
        message = f"Invalid body: an object with more than {MAX_PROPERTIES} properties."
        raise InvalidRequest(message, None, "object_above_max_properties")
    for name in value:
        if "\0" in name:
            raise _NullCharacter
        if len(name) > MAX_NAME:
            message = f"Invalid body: a property's name has more than {MAX_NAME:,} characters."
            raise InvalidRequest(message, None, "string_above_max_length")


def _whole(number: float) -> float:
    if math.isinf(number):
        raise _unparsable("number out of range")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError as exc:
        raise _unparsable("number out of range") from exc


def _unparsable(reason: str) -> InvalidRequest:
    return InvalidRequest(f"We could not parse the JSON body of your request: {reason}.", None, None)


def _path_of_null(value: Any) -> tuple[str | int, ...]:
    """Return the path of a null character; of one in a property's name that of its object."""
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while todo:
        path, one = todo.pop()
        if isinstance(one, str) and "\0" in one:
            return path
        if isinstance(one, dict):
            if any("\0" in name for name in one):
                return path
            todo += [((*path, name), member) for name, member in one.items()]
        elif isinstance(one, list):
            todo += [((*path, index), member) for index, member in enumerate(one)]
    return ()


def _null_character(path: tuple[str | int, ...]) -> InvalidRequest:
    param = field_path(path)
    shown = f"'{param}'" if param else "body"
    return InvalidRequest(
        f"Invalid {shown}: null characters (U+0000) are not allowed.", param, "invalid_value"
    )


def _refuse_duplicates(raw: bytes) -> None:
    """Raise InvalidRequest, naming the key, if a body was refused for a key given twice."""
    with suppress(ValueError, RecursionError):
        json.loads(raw, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> JSON:
    value = dict(pairs)
    if len(value) != len(pairs):
        doubled = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidRequest(
            f"Invalid body: '{doubled[:100]}' is given twice.", doubled[:100], "invalid_value"
        )
    return value
