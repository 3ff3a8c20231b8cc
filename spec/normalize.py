"""Normalizes a document: applies the rules to each part, and refuses what is unknown after them."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from spec.errors import InvalidSpec
from spec.names import python_name
from spec.prose import METHODS, strip_prose
from spec.rules import OPERATION_RULES, SCHEMA_RULES, WHOLE_SCHEMA_RULES
from spec.schema import KEYWORDS, PREFIX, SCHEMAS, SCHEMAS_BY_NAME, SCHEMAS_IN_LIST
from spec.types import JSON, objects_within

_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_DOCUMENT = frozenset({"openapi", "info", "servers", "tags", "paths", "components", "security"})
_OPERATION = frozenset(
    {"operationId", "tags", "parameters", "requestBody", "responses", "security", "deprecated", "servers"}
)
_PARAMETER = frozenset(
    {"name", "in", "required", "schema", "style", "explode", "deprecated", "allowReserved", "allowEmptyValue"}
)
_PATH_ITEM = frozenset((*METHODS, "parameters", "servers"))
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def normalize(document: JSON, file: str) -> JSON:
    """Return `document` as OpenAPI 3.1 without prose, with JSON Schema 2020-12 and local references.

    Every operation has an operationId and a tag. Components that no operation refers to (events of
    webhooks and of the realtime API) are left out. InvalidSpec for what is unknown.
    """
    normalizer = _Normalizer(file)
    try:
        return normalizer.document(strip_prose(document))
    except (AttributeError, KeyError, TypeError, RecursionError) as exc:
        # Structural errors that no rule foresees, such as a list instead of a mapping.
        raise InvalidSpec(file, normalizer.place, f"not as OpenAPI has it: {exc!r:.200}") from exc


class _Normalizer:
    def __init__(self, file: str) -> None:
        self._file = file
        self.place = "document"
        self._references: dict[str, str] = {}

    def _refuse(self, place: str, reason: str) -> InvalidSpec:
        return InvalidSpec(self._file, place, reason)

    def document(self, document: JSON) -> JSON:
        version = document.get("openapi", document.get("swagger"))
        if version is None:
            raise self._refuse("openapi", "not an OpenAPI document: the version is missing")
        if not str(version).startswith(("3.0", "3.1")):
            raise self._refuse("openapi", f"OpenAPI {version} is not known, 3.0 and 3.1 are")
        self._known(document, _DOCUMENT, "document")
        components = self._mapping(document.get("components", {}), "components")
        schemas = {
            name: self._schema(schema, f"components.schemas.{name}", name)
            for name, schema in self._mapping(components.get("schemas", {}), "components.schemas").items()
        }
        paths = {
            path: self._path(path, self._mapping(item, f"paths.{path}"), components)
            for path, item in self._mapping(document.get("paths"), "paths").items()
        }
        self._unique_ids(paths)
        used = self._reachable(paths, schemas)
        self._check_circles(used)
        self._check_meta(paths, used)
        kept: JSON = {
            key: document[key] for key in ("info", "servers", "tags", "security") if key in document
        }
        security = (
            {"securitySchemes": components["securitySchemes"]} if "securitySchemes" in components else {}
        )
        return {"openapi": "3.1.0", **kept, "paths": paths, "components": {"schemas": used, **security}}

    def _mapping(self, value: Any, place: str) -> JSON:
        if not isinstance(value, dict):
            raise self._refuse(place, "a mapping is expected here")
        return value

    def _known(self, value: JSON, known: frozenset[str], place: str) -> None:
        for key in value:
            if key not in known:
                raise self._refuse(place, f"unknown key '{key}'")

    def _path(self, path: str, item: JSON, components: JSON) -> JSON:
        place = f"paths.{path}"
        self._known(item, _PATH_ITEM, place)
        for segment in path.partition("?")[0].split("/"):
            if ("{" in segment or "}" in segment) and not _is_parameter(segment):
                raise self._refuse(place, f"a parameter that is only a part of its segment, '{segment}'")
        shared = item.get("parameters", [])
        return {
            method: self._operation(path, method, _with_shared(item[method], shared), components)
            for method in METHODS
            if method in item
        }

    def _operation(self, path: str, method: str, operation: Any, components: JSON) -> JSON:
        self.place = place = f"paths.{path}.{method}"
        operation = self._mapping(operation, place)
        for change in OPERATION_RULES:
            operation = change(operation, path, method, components)
        self._known(operation, _OPERATION, place)
        result = dict(operation)
        parameters = operation.get("parameters", [])
        result["parameters"] = [self._parameter(one, f"{place}.parameters") for one in parameters]
        result["parameters"] += _undescribed(path, result["parameters"])
        if "requestBody" in operation:
            body = self._mapping(operation["requestBody"], f"{place}.requestBody")
            result["requestBody"] = {**body, "content": self._content(body, f"{place}.requestBody")}
        responses = self._mapping(operation.get("responses", {}), f"{place}.responses")
        result["responses"] = {
            status: {"description": "", "content": self._content(one, f"{place}.responses.{status}")}
            for status, one in responses.items()
        }
        return result

    def _parameter(self, parameter: Any, place: str) -> JSON:
        parameter = self._mapping(parameter, place)
        if not isinstance(parameter.get("name"), str):
            raise self._refuse(place, "a parameter without a name")
        place = f"{place}.{parameter['name']}"
        self._known(parameter, _PARAMETER, place)
        if parameter.get("in") not in ("path", "query", "header", "cookie"):
            raise self._refuse(place, f"a parameter in '{parameter.get('in')}'")
        return {**parameter, "schema": self._schema(parameter.get("schema") or {}, f"{place}.schema", "")}

    def _content(self, holder: Any, place: str) -> JSON:
        content = self._mapping(self._mapping(holder, place).get("content", {}), f"{place}.content")
        result: JSON = {}
        for media, one in content.items():
            here = f"{place}.{media}"
            kept = {key: value for key, value in self._mapping(one, here).items() if key != "encoding"}
            self._known(kept, frozenset({"schema"}), here)
            schema = kept.get("schema")
            result[media] = {} if schema is None else {"schema": self._schema(schema, here, "")}
        return result

    def _schema(self, schema: Any, place: str, component: str, *, part: bool = False) -> Any:
        if isinstance(schema, bool):
            return schema
        if schema is None:
            return {}
        schema = self._mapping(schema, place)
        self.place = place
        for change in SCHEMA_RULES if part else (*SCHEMA_RULES, *WHOLE_SCHEMA_RULES):
            schema = change(schema, component)
        return {key: self._keyword(key, value, place, component) for key, value in schema.items()}

    def _keyword(self, key: str, value: Any, place: str, component: str) -> Any:
        here = f"{place}.{key}"
        if key not in KEYWORDS:
            raise self._refuse(place, f"unknown keyword '{key}'")
        if key == "$ref":
            if not isinstance(value, str) or not value.startswith(PREFIX):
                raise self._refuse(here, f"a reference to '{value}', only {PREFIX}… is known")
            self._references.setdefault(value.removeprefix(PREFIX), here)
        elif key == "type":
            for one in value if isinstance(value, list) else [value]:
                if one not in _TYPES:
                    raise self._refuse(here, f"unknown type '{one}'")
        elif key in SCHEMAS_BY_NAME:
            members = self._mapping(value, here)
            return {name: self._schema(one, f"{here}.{name}", component) for name, one in members.items()}
        elif key in SCHEMAS_IN_LIST:
            if not isinstance(value, list):
                raise self._refuse(here, "a list is expected here")
            part = key == "allOf"
            return [
                self._schema(one, f"{here}[{index}]", component, part=part) for index, one in enumerate(value)
            ]
        elif key in SCHEMAS:
            return self._schema(value, here, component)
        return value

    def _unique_ids(self, paths: JSON) -> None:
        """Check that no two operations share a handler's name."""
        seen: dict[str, str] = {}
        for path, item in paths.items():
            for method, operation in item.items():
                self.place = place = f"paths.{path}.{method}"
                name = python_name(operation["operationId"])
                if not name.isidentifier():
                    raise self._refuse(
                        place, f"no name can be made of operationId '{operation['operationId']}'"
                    )
                if name in seen:
                    raise self._refuse(
                        place, f"operationId '{operation['operationId']}' is also that of {seen[name]}"
                    )
                seen[name] = place

    def _reachable(self, paths: JSON, schemas: JSON) -> JSON:
        """Return the components that operations refer to, in the document's order."""
        for name, place in self._references.items():
            if name not in schemas:
                raise self._refuse(place, f"a reference to '{PREFIX}{name}', which is not there")
        found: set[str] = set()
        todo = list(references(paths))
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += references(schemas.get(name))
        return {name: schema for name, schema in schemas.items() if name in found}

    def _check_circles(self, schemas: JSON) -> None:
        """Check that no schema contains itself in place, which no value could be validated against."""
        parts = {name: set(_in_place(schema)) for name, schema in schemas.items()}
        while True:
            ends = {name for name, others in parts.items() if not others & parts.keys()}
            if not ends:
                break
            parts = {name: others for name, others in parts.items() if name not in ends}
        for name in parts:
            raise self._refuse(f"components.schemas.{name}", "a schema that refers to itself in place")

    def _check_meta(self, paths: JSON, schemas: JSON) -> None:
        """Check each schema against JSON Schema's meta-schema, so that none fails when it is used."""
        places = {f"components.schemas.{name}": schema for name, schema in schemas.items()}
        places.update(_inline(paths))
        meta = jsonschema_rs.meta
        if not meta.is_valid({"$schema": _DIALECT, "$defs": places}):
            for place, schema in places.items():
                try:
                    meta.validate(schema if isinstance(schema, bool) else {"$schema": _DIALECT, **schema})
                except jsonschema_rs.ValidationError as exc:
                    steps = ".".join((place, *(str(step) for step in exc.instance_path)))
                    raise self._refuse(steps, exc.message[:200]) from exc
        for place, pattern in ((place, one) for place, schema in places.items() for one in _patterns(schema)):
            try:
                jsonschema_rs.Draft202012Validator({"pattern": pattern})
            except (ValueError, jsonschema_rs.ValidationError) as exc:
                raise self._refuse(place, f"the pattern '{pattern}' is no regular expression") from exc


def _inline(paths: JSON) -> Iterator[tuple[str, Any]]:
    """Yield the inline schemas of operations with their places."""
    for path, item in paths.items():
        for method, operation in item.items():
            place = f"paths.{path}.{method}"
            for parameter in operation["parameters"]:
                yield f"{place}.parameters.{parameter['name']}", parameter["schema"]
            holders = {"requestBody": operation.get("requestBody", {}), **operation["responses"]}
            for name, holder in holders.items():
                for media, one in holder.get("content", {}).items():
                    if "schema" in one:
                        yield f"{place}.{name}.{media}", one["schema"]


def _patterns(schema: Any) -> Iterator[str]:
    for one in objects_within(schema):
        if isinstance(one.get("pattern"), str):
            yield one["pattern"]


def _in_place(schema: Any) -> Iterator[str]:
    """Yield the components that a schema applies to the same value."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(PREFIX)
    for key in ("allOf", "anyOf"):
        for one in schema.get(key, ()):
            yield from _in_place(one)


def references(node: Any) -> set[str]:
    """Return the names of the components that a normalized part refers to."""
    found = (one.get("$ref") for one in objects_within(node))
    return {reference.removeprefix(PREFIX) for reference in found if isinstance(reference, str)}


def _undescribed(path: str, parameters: list[JSON]) -> list[JSON]:
    """Return the parameters that the path names and the document does not describe, as strings."""
    described = {one["name"] for one in parameters if one["in"] == "path"}
    names = [one[1:-1] for one in path.partition("?")[0].split("/") if _is_parameter(one)]
    schema = {"type": "string"}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in names
        if name not in described
    ]


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}") and segment.count("{") == 1


def _with_shared(operation: Any, shared: list[Any]) -> Any:
    """Add the path item's parameters to an operation."""
    if not shared or not isinstance(operation, dict):
        return operation
    return {**operation, "parameters": [*shared, *operation.get("parameters", ())]}
