"""Removes nulls that stand for absent fields, as SDKs and dumped objects send them.

A null that the schema allows has a meaning of its own (an update that clears a field) and stays. So
does the null of a required field, for the validator to refuse.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from spec.schema import PREFIX, TAGS
from spec.types import JSON

Components = Mapping[str, Any]

# Unions inside one schema multiply; upstream has no object with more alternatives than this.
_MAX_ALTERNATIVES = 64
# Objects that hold a null; each costs some 50 µs.
_MAX_HOLDERS = 10_000


def remove_nulls(value: Any, schema: Any, components: Components) -> None:
    """Remove the nulls of optional fields from `value`, in place; none where there are very many."""
    holders: set[int] = set()
    _find_holders(value, holders)
    if 0 < len(holders) <= _MAX_HOLDERS:
        _remove(value, [schema], components, holders)


def _find_holders(value: Any, holders: set[int]) -> bool:
    """Add the ids of the objects and arrays that hold a null, at any depth."""
    members = value.values() if isinstance(value, dict) else value
    found = False
    for member in members if isinstance(value, dict | list) else ():
        if member is None or (isinstance(member, dict | list) and _find_holders(member, holders)):
            found = True
    if found:
        holders.add(id(value))
    return found


def _remove(value: Any, schemas: list[Any], components: Components, holders: set[int]) -> None:
    if id(value) not in holders:
        return
    alternatives = [one for schema in schemas for one in _alternatives(schema, value, components)]
    if isinstance(value, list):
        items = [part["items"] for parts in alternatives for part in parts if "items" in part]
        for item in value if items else ():
            _remove(item, items, components, holders)
        return
    complete = [parts for parts in alternatives if all(_has_required(part, value) for part in parts)]
    alternatives = complete or alternatives
    for name, member in list(value.items()):
        if member is None:
            if _stands_for_absent(name, alternatives, components):
                del value[name]
        elif id(member) in holders:
            declared = [schema for parts in alternatives for schema in _declared(name, parts)]
            _remove(member, declared, components, holders)


def _has_required(schema: JSON, value: JSON) -> bool:
    return all(name in value for name in schema.get("required", ()))


def _stands_for_absent(name: str, alternatives: list[list[JSON]], components: Components) -> bool:
    """Whether some alternative has the field as optional, and none allows null for it."""
    optional = False
    for parts in alternatives:
        declared = _declared(name, parts)
        if declared and all(_allows_null(schema, components) for schema in declared):
            return False
        required = any(name in part.get("required", ()) for part in parts)
        optional = optional or (bool(declared) and not required)
    return optional


def _declared(name: str, parts: list[JSON]) -> list[Any]:
    return [part["properties"][name] for part in parts if name in part.get("properties", ())]


def _alternatives(schema: Any, value: Any, components: Components) -> Iterator[list[JSON]]:
    """Each way in which the schema may be meant for `value`: the plain schemas that then apply."""
    if not isinstance(schema, dict):
        return
    groups: list[list[list[JSON]]] = []
    if "$ref" in schema:
        referred = components[schema["$ref"].removeprefix(PREFIX)]
        groups.append(list(_alternatives(referred, value, components)))
    groups += (list(_alternatives(part, value, components)) for part in schema.get("allOf", ()))
    for key in ("anyOf", "oneOf"):
        if key in schema:
            groups.append([one for part in schema[key] for one in _alternatives(part, value, components)])
    count = 0
    for combined in product(*groups):
        parts = [schema, *(part for one in combined for part in one)]
        if _is_meant(parts, value):
            yield parts
            count += 1
            if count == _MAX_ALTERNATIVES:
                return


def _is_meant(parts: list[JSON], value: Any) -> bool:
    """Whether the value's type and tags (`type`, `role`) are those of the schemas."""
    kind = "array" if isinstance(value, list) else "object"
    for part in parts:
        types = part.get("type", kind)
        if kind not in ([types] if isinstance(types, str) else types):
            return False
        for tag in TAGS & part.get("properties", {}).keys() if kind == "object" else ():
            known = part["properties"][tag]
            allowed = known.get("enum", [known["const"]] if "const" in known else None)
            if allowed is not None and value.get(tag) is not None and value[tag] not in allowed:
                return False
    return True


def _allows_null(schema: Any, components: Components) -> bool:
    if not isinstance(schema, dict):
        return bool(schema)
    types = schema.get("type", "null")
    if "null" not in ([types] if isinstance(types, str) else types):
        return False
    if None not in schema.get("enum", (None,)) or schema.get("const") is not None:
        return False
    if "$ref" in schema and not _allows_null(components[schema["$ref"].removeprefix(PREFIX)], components):
        return False
    unions = [schema[key] for key in ("anyOf", "oneOf") if key in schema]
    return all(_allows_null(part, components) for part in schema.get("allOf", ())) and all(
        any(_allows_null(part, components) for part in union) for union in unions
    )
