"""Decodes query strings and form fields into JSON by the types that the schema allows.

Repeated names, `a[]=1`, `a[0]=1` and `a[key]=value` build arrays and objects as the SDKs send
them; so does `a=1,2` if the spec says `explode: false`. What cannot be read as an allowed type
stays a string, for the validator to refuse.
"""

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

import orjson

from spec.body import parse_json
from spec.errors import InvalidRequest
from spec.names import argument_name
from spec.schema import flat_schemas
from spec.types import JSON

Components = Mapping[str, Any]

_MAX_FIELDS = 1000
_MAX_DEPTH = 10
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_STEP = re.compile(r"\[([^\[\]]*)\]")
_INDEX = re.compile(r"[0-9]{1,4}")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What a schema allows, as far as decoding a string needs it.

    `structured` is true if arrays or objects are allowed, `listed` if only an array is.
    """

    types: frozenset[str]
    structured: bool
    listed: bool
    items: "Callable[[], Shape]"
    member: "Callable[[str], Shape]"
    binary: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """One parameter of an operation.

    `name` is the name on the wire, `argument` the handler's keyword; `location` is path, query,
    header or cookie. `commas` is true if several values are written as `a=1,2`.
    """

    name: str
    argument: str
    location: str
    required: bool
    schema: Any
    commas: bool = False


def parameter(spec: Mapping[str, Any]) -> Parameter:
    """Make a parameter of its description in a normalized document."""
    return Parameter(
        name=spec["name"],
        argument=argument_name(spec["name"]),
        location=spec["in"],
        required=spec.get("required", False),
        schema=spec.get("schema", {}),
        commas=spec.get("style", "form") == "form" and spec.get("explode") is False,
    )


# --- shapes ---


def shape(schema: Any, components: Components) -> Shape:
    """Return the shape of a schema, following `$ref` and every branch of its unions."""
    flat = list(flat_schemas(schema, components))
    types = {name for one in flat for name in _types(one)}
    binary = any(one.get("format") == "binary" for one in flat)

    def items() -> Shape:
        found = [one["items"] for one in flat if "items" in one]
        return shape({"anyOf": found}, components)

    def member(name: str) -> Shape:
        found = [one["properties"][name] for one in flat if name in one.get("properties", ())]
        if not found:
            others = [one.get("additionalProperties") for one in flat]
            found = [one for one in others if isinstance(one, dict)]
        return shape({"anyOf": found}, components)

    structured = bool(types & {"array", "object"})
    listed = "array" in types and not types & {"string", "integer", "number", "boolean"}
    return Shape(frozenset(types), structured, listed, items, member, binary)


def _types(schema: JSON) -> Iterable[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return (kind,)
    if kind is not None:
        return list(kind)
    return ("object",) if "properties" in schema else ("array",) if "items" in schema else ()


# --- decoding ---


def split_query(query: bytes) -> list[tuple[str, str]]:
    """Return the pairs of a query string; raise InvalidRequest if it is not UTF-8."""
    try:
        text = query.decode()
        pieces = [piece.partition("=") for piece in text.split("&") if piece]
        if "%" not in text and "+" not in text:
            return [(name, value) for name, _, value in pieces]
        return [
            (unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict"))
            for name, _, value in pieces
        ]
    except UnicodeDecodeError as exc:
        raise InvalidRequest("Invalid query string: not valid UTF-8.", None, "invalid_value") from exc


def assemble(pairs: Iterable[tuple[str, Any]]) -> JSON:
    """Build nested lists and dicts from bracketed names; a repeated name becomes a list."""
    root: JSON = {}
    for count, (name, value) in enumerate(pairs):
        if count >= _MAX_FIELDS:
            raise InvalidRequest(f"Too many parameters: at most {_MAX_FIELDS}.", None, "invalid_value")
        if "\0" in name or (isinstance(value, str) and "\0" in value):
            raise InvalidRequest(
                f"Invalid '{_plain(name)}': null characters are not allowed.", _plain(name), "invalid_value"
            )
        if "[" not in name and name not in root:
            root[name] = value
            continue
        matched = _KEY.fullmatch(name)
        steps = [matched[1], *_STEP.findall(matched[2])] if matched else [name]
        if len(steps) > _MAX_DEPTH:
            raise InvalidRequest(f"Invalid '{steps[0]}': nested too deeply.", steps[0], "invalid_value")
        _put(root, steps, value)
    return root


class Repeated(list[Any]):
    """Values given under one name, or under `name[]`."""


def _put(place: JSON, steps: list[str], value: Any) -> None:
    name, *rest = steps
    if not rest or rest == [""]:
        known = place.get(name)
        if isinstance(known, dict):
            raise InvalidRequest(
                f"Invalid '{name}': given both as a value and as an object.", name, "invalid_value"
            )
        if isinstance(known, Repeated):
            known.append(value)
        elif known is not None:
            place[name] = Repeated((known, value))
        else:
            place[name] = Repeated((value,)) if rest else value
        return
    if rest[0] == "":
        # `parts[][text]=a`: each repetition of a key begins the next object.
        members = place.setdefault(name, Repeated())
        if not isinstance(members, Repeated):
            raise InvalidRequest(f"Invalid '{name}': given in two ways.", name, "invalid_value")
        if not members or not isinstance(members[-1], dict) or rest[1] in members[-1]:
            members.append({})
        _put(members[-1], rest[1:], value)
        return
    inner = place.setdefault(name, {})
    if not isinstance(inner, dict):
        raise InvalidRequest(
            f"Invalid '{name}': given both as a value and as an object.", name, "invalid_value"
        )
    _put(inner, rest, value)


def decode(value: Any, shaped: Shape, *, commas: bool = False) -> Any:
    """Convert what `assemble` made of one parameter to the JSON that its shape allows."""
    if isinstance(value, str):
        return _decode_text(value, shaped, commas=commas)
    types = shaped.types
    if isinstance(value, Repeated):
        if "array" in types:
            items = shaped.items()
            return [decode(one, items) for one in value]
        return list(value)
    if isinstance(value, dict):
        if "array" in types and value and all(_INDEX.fullmatch(key) for key in value):
            items = shaped.items()
            return [decode(value[key], items) for key in sorted(value, key=int)]
        return {name: decode(one, shaped.member(name)) for name, one in value.items()}
    return [value] if "array" in types and not shaped.binary else value


def _decode_text(text: str, shaped: Shape, *, commas: bool) -> Any:
    if not shaped.structured:
        return _scalar(text, shaped.types)
    if text[:1] in ("{", "["):
        with contextlib.suppress(ValueError):
            orjson.loads(text)
            return parse_json(text.encode())
    if shaped.listed:
        items = shaped.items()
        return [decode(one, items) for one in (text.split(",") if commas else [text])]
    return _scalar(text, shaped.types)


def _scalar(text: str, types: frozenset[str]) -> Any:
    if "integer" in types and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    if "null" in types and "string" not in types and text in ("", "null"):
        return None
    return text


def _plain(name: str) -> str:
    return name.replace("\0", "").partition("[")[0][:100]
