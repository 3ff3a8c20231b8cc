"""Parses a JSON body, and refuses what other parsers or databases could not read.

Refused with 400: malformed JSON, NaN and Infinity, invalid UTF-8, lone surrogates (all by orjson),
null characters (no database keeps them alike), nesting deeper than 100, objects of more than 10,000
properties (no schema wants them, and each would be an error of its own), and a key given twice in
one object, which parsers understand differently.
"""

import json
import re
from collections import Counter
from typing import Any

import orjson

from spec.errors import InvalidRequest
from spec.explain import field_path

MAX_DEPTH = 100
MAX_PROPERTIES = 10_000
_ORJSON_DEPTH = 254

# Finds bodies that may hold a float without a fraction; false alarms are cheap.
_WHOLE = re.compile(rb"\d\.0|\d[eE]")
_EXACT = 2**53

# Finding duplicate keys in a body with whitespace takes a second, slower parser.
MAX_CHECKED_FOR_DOUBLES = 1_000_000


def parse_json(raw: bytes) -> Any:
    """Return the body as Python data; raise InvalidRequest, naming the field if there is one."""
    try:
        value = orjson.loads(raw)
    except ValueError as exc:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {exc}.", None, None) from exc
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_depth(value)
    if raw.count(b":") > MAX_PROPERTIES:
        _refuse_large_objects(value)
    if b"\\u0000" in raw:
        _refuse_null_characters(value)
    # A body that serializes to the same bytes has no duplicate keys: the usual case, and a cheap test.
    if orjson.dumps(value) != raw and len(raw) <= MAX_CHECKED_FOR_DOUBLES:
        json.loads(raw, object_pairs_hook=_once)
    return _whole(value) if _WHOLE.search(raw) else value


def _whole(value: Any) -> Any:
    """Return the value with whole floats (5.0) as integers, as JSON Schema counts them."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value


def _refuse_depth(value: Any) -> None:
    probe = value
    for _ in range(_ORJSON_DEPTH - MAX_DEPTH):
        probe = [probe]
    try:
        orjson.dumps(probe)
    except TypeError as exc:
        message = f"Invalid body: nested deeper than {MAX_DEPTH} levels."
        raise InvalidRequest(message, None, "invalid_value") from exc


def _refuse_large_objects(value: Any) -> None:
    todo = [value] if isinstance(value, dict | list) else []
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if len(one) > MAX_PROPERTIES:
                message = f"Invalid body: an object with more than {MAX_PROPERTIES} properties."
                raise InvalidRequest(message, None, "object_above_max_properties")
            todo += (member for member in one.values() if isinstance(member, dict | list))
        else:
            todo += (member for member in one if isinstance(member, dict | list))


def _refuse_null_characters(value: Any) -> None:
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while todo:
        path, one = todo.pop()
        if isinstance(one, str) and "\0" in one:
            raise _null_character(path)
        if isinstance(one, dict):
            for name, member in one.items():
                if "\0" in name:
                    raise _null_character(path)
                todo.append(((*path, name), member))
        elif isinstance(one, list):
            todo += [((*path, index), member) for index, member in enumerate(one)]


def _null_character(path: tuple[str | int, ...]) -> InvalidRequest:
    param = field_path(path)
    shown = f"'{param}'" if param else "body"
    return InvalidRequest(
        f"Invalid {shown}: null characters (U+0000) are not allowed.", param, "invalid_value"
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        doubled = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidRequest(
            f"Invalid body: '{doubled[:100]}' is given twice.", doubled[:100], "invalid_value"
        )
    return value
