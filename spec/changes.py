"""The changes that errata make to a document, each in place; they return whether they applied."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from spec.schema import SCHEMAS, SCHEMAS_BY_NAME, SCHEMAS_IN_LIST
from spec.types import JSON

NULL = {"type": "null"}


def schema_at(document: JSON, path: str) -> JSON:
    """Return the schema at `Component.property.property`; empty if the edition has none."""
    component, *names = path.split(".")
    schema = document["components"]["schemas"].get(component, {})
    for name in names:
        schema = schema.get("properties", {}).get(name, {})
    return schema if isinstance(schema, dict) else {}


def optional(path: str, *properties: str) -> Callable[[JSON], bool]:
    """Make properties optional that the spec requires and the service omits."""

    def change(document: JSON) -> bool:
        schema = schema_at(document, path)
        required = schema.get("required", [])
        kept = [name for name in required if name not in properties]
        if len(kept) == len(required):
            return False
        schema["required"] = kept
        return True

    return change


def allows(path: str, prop: str, *values: str) -> Callable[[JSON], bool]:
    """Add enum values that the service sends and the spec lacks."""

    def change(document: JSON) -> bool:
        enum = schema_at(document, f"{path}.{prop}")
        added = [value for value in values if value not in enum.get("enum", values)]
        if not added:
            return False
        enum["enum"] = [*enum["enum"], *added]
        return True

    return change


def also(path: str, prop: str, other: JSON) -> Callable[[JSON], bool]:
    """Allow another type that the service sends for a property."""

    def change(document: JSON) -> bool:
        properties = schema_at(document, path).get("properties", {})
        if prop not in properties or other in properties[prop].get("anyOf", ()):
            return False
        properties[prop] = {"anyOf": [properties[prop], dict(other)]}
        return True

    return change


def takes(path: str, **queries: JSON) -> Callable[[JSON], bool]:
    """Add query parameters that a GET takes and the spec lacks."""

    def change(document: JSON) -> bool:
        operation = document["paths"].get(path, {}).get("get")
        if not operation:
            return False
        parameters = operation.setdefault("parameters", [])
        known = {one["name"] for one in parameters}
        added = queries.keys() - known
        parameters += [{"name": name, "in": "query", "schema": queries[name]} for name in sorted(added)]
        return bool(added)

    return change


def shows(prop: str, kind: str, *components: str) -> Callable[[JSON], bool]:
    """Add a property, of that type or null, that the service's objects have and the spec lacks."""

    def change(document: JSON) -> bool:
        properties = [schema_at(document, component).get("properties") for component in components]
        missing = [one for one in properties if one and prop not in one]
        for one in missing:
            one[prop] = {"type": [kind, "null"]}
        return bool(missing)

    return change


def takes_fields_of(source: str, target: str, names: Iterable[str]) -> Callable[[JSON], bool]:
    """Let the requests of one component have fields of another's, none of them required."""

    def change(document: JSON) -> bool:
        there, here = (schema_at(document, component).get("properties", {}) for component in (source, target))
        added = {name: there[name] for name in names if name in there and name not in here}
        here.update(added)
        return bool(added)

    return change


def takes_unknown_fields(*components: str, refused: Iterable[str] = ()) -> Callable[[JSON], bool]:
    """Let requests have fields that the spec does not know; they are ignored, but `refused` ones."""

    def change(document: JSON) -> bool:
        closed = [one for one in (schema_at(document, component) for component in components) if one]
        for one in closed:
            one["additionalProperties"] = True
            one["properties"] = {**dict.fromkeys(refused, False), **one.get("properties", {})}
        return bool(closed)

    return change


_OF_REQUEST = (
    "request_id", "tool_choice", "seed", "top_p", "temperature", "presence_penalty", "frequency_penalty",
    "input_user", "tools", "metadata", "response_format",
)  # fmt: skip


def stored_completions(document: JSON) -> bool:
    """Add the fields of its request that a stored completion shows."""
    properties = schema_at(document, "CreateChatCompletionResponse").get("properties", {})
    if "/chat/completions/{completion_id}" not in document["paths"] or "request_id" in properties:
        return False
    properties.update({name: {} for name in _OF_REQUEST if name not in properties})
    return True


def two_vector_stores(document: JSON) -> bool:
    """Allow two vector stores: the SDK can name one and create one in the same call."""
    applied = False
    for component in ("AssistantObject", "ModifyAssistantRequest", "ModifyThreadRequest", "ThreadObject"):
        for one in schemas_within(document["components"]["schemas"].get(component)):
            ids = one.get("properties", {}).get("vector_store_ids", {})
            if ids.get("maxItems") == 1:
                ids["maxItems"] = 2
                applied = True
    return applied


def no_vector_store(document: JSON) -> bool:
    """Allow a file_search without vector stores."""
    applied = False
    for component in ("CreateAssistantRequest", "CreateThreadRequest"):
        for one in schemas_within(document["components"]["schemas"].get(component)):
            unions = [key for key in ("anyOf", "oneOf") if key in one]
            if "vector_stores" in one.get("properties", {}) and unions:
                for key in unions:
                    del one[key]
                applied = True
    return applied


def file_contents(document: JSON) -> bool:
    """Describe a file's content as bytes."""
    content = document["paths"].get("/files/{file_id}/content", {}).get("get", {})
    answer = content.get("responses", {}).get("200", {}).get("content", {})
    if "application/json" not in answer:
        return False
    del answer["application/json"]
    answer["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return True


def streams(method: str, *paths: str) -> Callable[[JSON], bool]:
    """Add the event stream that requests with `stream` are answered with."""

    def change(document: JSON) -> bool:
        operations = (document["paths"].get(path, {}).get(method, {}) for path in paths)
        contents = [one.get("responses", {}).get("200", {}).get("content") for one in operations]
        missing = [one for one in contents if one and "text/event-stream" not in one]
        for one in missing:
            one["text/event-stream"] = {}
        return bool(missing)

    return change


def exact_seeds(document: JSON) -> bool:
    """Bound `seed` to 64 bits; newer editions round the bounds, or only give a format."""
    bounds = {"minimum": -(2**63), "maximum": 2**63 - 1}
    schemas = document["components"]["schemas"].values()
    objects = (one for schema in schemas for one in schemas_within(schema))
    seeds = (one.get("properties", {}).get("seed") for one in objects)
    wide = [each for seed in seeds for each in schemas_within(seed) if {"minimum", "format"} & each.keys()]
    applied = [each for each in wide if {**each, **bounds} != each]
    for each in applied:
        each.update(bounds)
    return bool(applied)


def empty_lists(document: JSON) -> bool:
    """Allow null for `first_id` and `last_id`, which an empty list has."""
    applied = False
    for schema in document["components"]["schemas"].values():
        properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
        if "data" not in properties:
            continue
        for name in {"first_id", "last_id"} & properties.keys():
            if properties[name].get("type") == "string":
                properties[name] = {**properties[name], "type": ["string", "null"]}
                applied = True
    return applied


REQUEST = re.compile(r"(Create|Modify|Update)\w*(Request|Body)")


def metadata_limits(document: JSON) -> bool:
    """Bound metadata to 16 pairs, keys of 64 and values of 512 characters, as upstream's prose does."""
    schemas = document["components"]["schemas"]
    requests = (schema for name, schema in schemas.items() if REQUEST.fullmatch(name))
    holders = [one for schema in (*requests, *_inline_bodies(document)) for one in schemas_within(schema)]
    found = [schema for name, schema in schemas.items() if name.endswith("Metadata")]
    found += [one.get("properties", {}).get("metadata") for one in holders]
    applied = [_limit(each) for each in found if isinstance(each, dict)]
    return any(applied)


def _inline_bodies(document: JSON) -> Iterator[JSON]:
    """Yield the schemas of request bodies, also references to components."""
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict):
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    yield content.get("schema", {})


def _limit(schema: JSON) -> bool:
    applied = False
    for one in (schema, *schema.get("anyOf", ())):
        kind = one.get("type")
        if "object" not in (kind if isinstance(kind, list) else [kind]) or "properties" in one:
            continue
        values = one.get("additionalProperties")
        if values is None or values == {"type": "string"}:
            one["additionalProperties"] = {"type": "string", "maxLength": 512}
            one["propertyNames"] = {"maxLength": 64}
            one["maxProperties"] = 16
            applied = True
    return applied


def schemas_within(schema: Any) -> Iterator[JSON]:
    """The schema and every schema in it, references not followed."""
    todo = [schema]
    while todo:
        one = todo.pop()
        if not isinstance(one, dict):
            continue
        yield one
        for key, value in one.items():
            if key in SCHEMAS_BY_NAME:
                todo += value.values()
            elif key in SCHEMAS_IN_LIST:
                todo += value
            elif key in SCHEMAS:
                todo.append(value)


def list_limits(document: JSON) -> bool:
    """Bound `limit` of a list: 1 to 100, or 1 to 10,000 for files; their defaults tell them apart."""
    most = {20: 100, 10_000: 10_000}
    operations = (one for item in document["paths"].values() for one in item.values())
    schemas = [one["schema"] for each in operations for one in each["parameters"] if one["name"] == "limit"]
    applied = [
        one for one in schemas if one.get("default") in most and not {"minimum", "maximum"} & one.keys()
    ]
    for schema in applied:
        schema |= {"minimum": 1, "maximum": most[schema["default"]]}
    return bool(applied)


def function_names(document: JSON) -> bool:
    """Require names of assistants' functions that a model can call."""
    tool = schema_at(document, "AssistantToolsFunction").get("properties", {})
    if tool.get("function", {}).keys() != {"$ref"}:
        return False
    name = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
    tool["function"] = {"allOf": [tool["function"], {"type": "object", "properties": {"name": name}}]}
    return True


def attachments_name_files(document: JSON) -> bool:
    """Require the file_id of an attachment."""
    arrays = schemas_within(schema_at(document, "CreateMessageRequest.attachments"))
    items = [one["items"] for one in arrays if "file_id" in one.get("items", {}).get("properties", {})]
    items = [one for one in items if "required" not in one]
    for one in items:
        one["required"] = ["file_id"]
    return bool(items)


def echoed_assistant_message(document: JSON) -> bool:
    """Accept `annotations` in a message, as completions answer them."""
    known = schema_at(document, "ChatCompletionRequestAssistantMessage").get("properties", {})
    answered = schema_at(document, "ChatCompletionResponseMessage").get("properties", {})
    if not known or "annotations" not in answered or "annotations" in known:
        return False
    known["annotations"] = answered["annotations"]
    return True


def messages_of_any_role(document: JSON) -> bool:
    """Allow any role and content part in a stored completion's messages: they are its request's."""
    members = schema_at(document, "ChatCompletionMessageList.data").get("items", {}).get("allOf", [])
    answered = schema_at(document, "ChatCompletionResponseMessage")
    if not members or "$ref" not in members[0] or not answered:
        return False
    members[0] = {**answered, "properties": {**answered["properties"], "role": {"type": "string"}}}
    for member in members[1:]:
        if "content_parts" in member.get("properties", {}):
            member["properties"]["content_parts"] = {"type": ["array", "null"], "items": {"type": "object"}}
    return True
