"""Makes response schemas allow null for optional properties, as clients do.

Of 1,473 recorded answers of OpenAI's service 853 do not fit its own spec, mostly because an
optional property is sent as null. Relayed answers of providers may also have unknown properties.
"""

from collections.abc import Mapping
from typing import Any

from spec.schema import PREFIX, is_schema, is_schema_list, is_schema_map
from spec.types import JSON

_NULL = {"type": "null"}


def allow_null(schema: Any, components: Mapping[str, Any], *, unknown: bool = False) -> JSON:
    """Return `schema` and all that it refers to as one document; `unknown` allows unknown properties."""
    converted: JSON = {}
    pending: list[str] = []

    def convert(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        result = {key: convert_keyword(key, value) for key, value in node.items()}
        if "properties" in node:
            required = node.get("required", ())
            result["properties"] = {
                name: one if name in required else or_null(one) for name, one in result["properties"].items()
            }
        if unknown:
            for key in ("additionalProperties", "unevaluatedProperties"):
                if result.get(key) is False:
                    del result[key]
        return result

    def convert_keyword(key: str, value: Any) -> Any:
        """Convert the subschemas of one keyword, and queue the component that a `$ref` names."""
        if key == "$ref":
            name = value.removeprefix(PREFIX)
            if name not in converted:
                converted[name] = None
                pending.append(name)
            return value
        if is_schema_map(key):
            return {name: convert(one) for name, one in value.items()}
        if is_schema_list(key):
            return [convert(one) for one in value]
        return convert(value) if is_schema(key) else value

    root = convert(schema)
    while pending:
        name = pending.pop()
        converted[name] = convert(components[name])
    if isinstance(root, bool):
        root = {} if root else {"not": {}}
    return {**root, "components": {"schemas": converted}} if converted else root


def or_null(schema: Any) -> Any:
    """Return `schema` with null allowed as well."""
    if not isinstance(schema, dict):
        return schema or dict(_NULL)
    kind = schema.get("type")
    types = [kind] if isinstance(kind, str) else kind
    if types is None or "const" in schema or {"$ref", "anyOf", "allOf", "oneOf", "not"} & schema.keys():
        if any(one == _NULL for one in schema.get("anyOf", ())):
            return schema
        return {"anyOf": [schema, dict(_NULL)]} if schema else schema
    result = dict(schema)
    if "null" not in types:
        result["type"] = [*types, "null"]
    if "enum" in schema and None not in schema["enum"]:
        result["enum"] = [*schema["enum"], None]
    return result
