"""Makes request schemas refuse unknown fields.

Upstream's request schemas mostly omit `additionalProperties`, which allows any field; OpenAI's
service refuses unknown ones. A schema is closed if it describes a whole value (a body, a property, an
item): an object that declares properties allows only those, also when they are declared through
`allOf`, `anyOf` and `$ref`. Free maps (no declared property, or `additionalProperties` other than
false) stay open. A component that is also a part of an `allOf` is needed twice, closed under its own
name and open under `NAME.open`.

Two things stay open: messages of a chat at every depth, because applications append the message of an
answer unchanged, and the top level of a chat request, because providers have fields of their own.
"""

from collections.abc import Mapping
from typing import Any

from spec.schema import PREFIX, is_schema, is_schema_list, is_schema_map
from spec.types import JSON

_OPEN = ".open"
_AS_IS = ".as_is"
_OPEN_THROUGHOUT = frozenset({"ChatCompletionRequestMessage"})
_OPEN_AT_TOP = frozenset({"CreateChatCompletionRequest"})
_CLOSED = (("additionalProperties", False), ("unevaluatedProperties", False))
_PLAIN = frozenset({"type", "properties", "required", "additionalProperties", "allOf", "$ref", "anyOf"})
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "dependentSchemas"})


def forbid_extra(schema: Any, components: Mapping[str, Any]) -> JSON:
    """Return `schema` and all that it refers to as one document that refuses unknown fields."""
    work = _Closer(components)
    root = work.close(schema)
    work.finish()
    if isinstance(root, bool):
        root = {} if root else {"not": {}}
    return {**root, "components": {"schemas": work.made}} if work.made else root


class _Closer:
    def __init__(self, components: Mapping[str, Any]) -> None:
        self._components = components
        self._todo: list[str] = []
        self.made: JSON = {}

    def finish(self) -> None:
        """Transform the referenced components until none is left."""
        while self._todo:
            key = self._todo.pop()
            name = key.removesuffix(_OPEN).removesuffix(_AS_IS)
            treat = self.close
            if key != name:
                treat = self.open if key.endswith(_OPEN) else self.keep
            self.made[key] = treat(self._components[name])
            if key in _OPEN_AT_TOP:
                self.made[key].pop("additionalProperties", None)

    def close(self, schema: Any) -> Any:
        """Transform a schema that describes a whole value."""
        if not isinstance(schema, dict):
            return schema
        if schema.keys() == {"$ref"}:
            return self._reference(schema["$ref"], "")
        flat = self._flattened(schema)
        if flat is not None:
            schema = flat
        unions = [key for key in ("anyOf", "oneOf") if key in schema]
        if unions and not schema.keys() & (_IN_PLACE - {"anyOf", "oneOf"}) and "properties" not in schema:
            return self._children(schema) | {key: [self.close(one) for one in schema[key]] for key in unions}
        result = self.open(schema)
        if "additionalProperties" in schema or "patternProperties" in schema or self._is_free(schema):
            return result
        if self._declares_in_place(schema):
            result.setdefault("unevaluatedProperties", False)
        elif "properties" in schema:
            result["additionalProperties"] = False
        return result

    def open(self, schema: Any) -> Any:
        """Transform a schema that is one part of a value's description."""
        if not isinstance(schema, dict):
            return schema
        result = self._children(schema)
        for key in _IN_PLACE & schema.keys():
            value = schema[key]
            if key == "$ref":
                result[key] = self._reference(value, _OPEN)["$ref"]
            elif is_schema_list(key):
                result[key] = [self.open(one) for one in value]
            elif is_schema_map(key):
                result[key] = {name: self.open(one) for name, one in value.items()}
            else:
                result[key] = self.open(value)
        return result

    def keep(self, schema: Any) -> Any:
        """Transform a schema that stays open, and everything in it."""
        if isinstance(schema, list):
            return [self.keep(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        if schema.keys() == {"$ref"}:
            return self._reference(schema["$ref"], _AS_IS)
        kept = {key: value for key, value in schema.items() if (key, value) not in _CLOSED}
        for key, value in kept.items():
            if key == "$ref":
                kept[key] = self._reference(value, _AS_IS)["$ref"]
            elif is_schema_map(key):
                kept[key] = {name: self.keep(one) for name, one in value.items()}
            elif is_schema(key) or is_schema_list(key):
                kept[key] = self.keep(value)
        return kept

    def _children(self, schema: JSON) -> JSON:
        """Close the schemas of properties and items; keep those that apply in place."""
        result = dict(schema)
        for key, value in schema.items():
            if key in _IN_PLACE:
                continue
            if is_schema_map(key):
                result[key] = {name: self.close(one) for name, one in value.items()}
            elif is_schema_list(key):
                result[key] = [self.close(one) for one in value]
            elif is_schema(key):
                result[key] = self.close(value)
        return result

    def _reference(self, reference: str, suffix: str) -> JSON:
        name = reference.removeprefix(PREFIX)
        key = name + (_AS_IS if name in _OPEN_THROUGHOUT else suffix)
        if key not in self.made:
            self.made[key] = None
            self._todo.append(key)
        return {"$ref": PREFIX + key}

    def _resolved(self, schema: Any) -> Any:
        while isinstance(schema, dict) and schema.keys() == {"$ref"}:
            schema = self._components[schema["$ref"].removeprefix(PREFIX)]
        return schema

    def _flattened(self, schema: JSON) -> JSON | None:
        """Merge an `allOf`, or a `$ref` with siblings, into one object; None if that is impossible.

        A flat object with `additionalProperties: false` is checked several times faster than
        `unevaluatedProperties`, and its errors are plainer.
        """
        if not {"allOf", "$ref"} & schema.keys():
            return None
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema:
            parts.append({"$ref": schema["$ref"]})
        merged: JSON = {}
        for part in (*parts, {key: value for key, value in schema.items() if key not in ("allOf", "$ref")}):
            one = self._resolved(part)
            if isinstance(one, dict) and {"allOf", "$ref"} & one.keys():
                one = self._flattened(one)
            if not isinstance(one, dict) or not _merge(merged, one):
                return None
        if merged.get("additionalProperties") is False:
            del merged["additionalProperties"]
        return merged

    def _is_free(self, schema: Any) -> bool:
        """Return whether a schema allows an object without declaring a property."""
        schema = self._resolved(schema)
        if not isinstance(schema, dict):
            return False
        if not _IN_PLACE & schema.keys() and "properties" not in schema:
            return schema.get("type") == "object" and "required" not in schema
        if schema.get("additionalProperties", False) is not False:
            return True
        return any(self._is_free(one) for one in _parts(schema))

    def _declares_in_place(self, schema: Any) -> bool:
        """Return whether a part of `schema` (not itself) declares properties."""
        parts = [self._resolved(one) for one in _parts(schema)]
        return any(
            isinstance(one, dict) and ("properties" in one or self._declares_in_place(one)) for one in parts
        )


def _parts(schema: JSON) -> list[Any]:
    parts = [one for key in ("allOf", "anyOf", "oneOf") for one in schema.get(key, ())]
    if "$ref" in schema and len(schema) > 1:
        parts.append({"$ref": schema["$ref"]})
    return parts


def _merge(merged: JSON, one: JSON) -> bool:
    """Merge `one` into `merged`; return False if one object cannot express both."""
    for key, value in one.items():
        if key == "properties":
            properties = merged.setdefault("properties", {})
            merged["properties"] = properties = dict(properties)
            for name, schema in value.items():
                known = properties.get(name)
                properties[name] = schema if known in (None, schema) else {"allOf": [known, schema]}
        elif key == "required":
            merged["required"] = list(dict.fromkeys((*merged.get("required", ()), *value)))
        elif key == "additionalProperties":
            merged[key] = merged.get(key) or value
        elif key.startswith("x-") or key in ("deprecated", "default", "discriminator"):
            continue
        elif merged.setdefault(key, value) != value or key not in _PLAIN:
            return False
    return True
