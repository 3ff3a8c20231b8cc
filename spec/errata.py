"""Where upstream's spec is wrong about its own service: real traffic and the SDK's types win.

Each erratum names the component that it changes and says why. It applies to every edition that has
that component, and does nothing to the others; a test holds each against what was observed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from astrolabe_server.spec.schema import SCHEMAS, SCHEMAS_BY_NAME, SCHEMAS_IN_LIST

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Erratum:
    """One change to a document; `change` alters it in place and says whether it applied."""

    name: str
    reason: str
    change: Callable[[JSON], bool]


def corrected(document: JSON) -> JSON:
    """A mended document with all errata applied, in place."""
    for erratum in ERRATA:
        erratum.change(document)
    return document


# --- the ways of a change ---


def _component(document: JSON, name: str) -> JSON | None:
    found = document["components"]["schemas"].get(name)
    return found if isinstance(found, dict) else None


def _optional(component: str, *properties: str) -> Callable[[JSON], bool]:
    """Properties that the spec requires and the service leaves out."""

    def change(document: JSON) -> bool:
        schema = _component(document, component)
        required = [] if schema is None else schema.get("required", [])
        kept = [name for name in required if name not in properties]
        if schema is None or len(kept) == len(required):
            return False
        schema["required"] = kept
        return True

    return change


def _allows(component: str, prop: str, value: str) -> Callable[[JSON], bool]:
    """A value that the service sends and the spec's enum does not have."""

    def change(document: JSON) -> bool:
        schema = _component(document, component)
        enum = {} if schema is None else schema.get("properties", {}).get(prop, {})
        if "enum" not in enum or value in enum["enum"]:
            return False
        enum["enum"] = [*enum["enum"], value]
        return True

    return change


def _nullable(component: str, *properties: str) -> Callable[[JSON], bool]:
    """Properties that the spec requires to be there and the service sends as null."""

    def change(document: JSON) -> bool:
        schema = _component(document, component)
        known = {} if schema is None else schema.get("properties", {})
        applied = False
        for name in properties:
            if name in known and {"type": "null"} not in known[name].get("anyOf", ()):
                known[name] = {"anyOf": [known[name], {"type": "null"}]}
                applied = True
        return applied

    return change


_REQUEST = re.compile(r"(Create|Modify|Update)\w*(Request|Body)")


def _metadata_limits(document: JSON) -> bool:
    """16 pairs, keys of 64 characters and values of 512, which upstream says in prose alone."""
    applied = False
    for component, schema in document["components"]["schemas"].items():
        if component.endswith("Metadata") and isinstance(schema, dict):
            applied = _limit(schema) or applied
        if not _REQUEST.fullmatch(component):
            continue
        for one in _within(schema):
            member = one.get("properties", {}).get("metadata")
            applied = (isinstance(member, dict) and _limit(member)) or applied
    return applied


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


def _within(schema: Any) -> Iterator[JSON]:
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


def _list_limits(document: JSON) -> bool:
    """`limit` of a list: 1 to 100, of files 1 to 10,000; told apart by their defaults."""
    most = {20: 100, 10_000: 10_000}
    operations = (one for item in document["paths"].values() for one in item.values())
    schemas = [one["schema"] for each in operations for one in each["parameters"] if one["name"] == "limit"]
    applied = [
        one for one in schemas if one.get("default") in most and not {"minimum", "maximum"} & one.keys()
    ]
    for schema in applied:
        schema |= {"minimum": 1, "maximum": most[schema["default"]]}
    return bool(applied)


def _echoed_assistant_message(document: JSON) -> bool:
    """What a completion answered may be sent back as a message, `annotations` and all."""
    schema = _component(document, "ChatCompletionRequestAssistantMessage")
    answer = _component(document, "ChatCompletionResponseMessage")
    if schema is None or answer is None or "annotations" not in answer.get("properties", {}):
        return False
    schema.setdefault("properties", {}).setdefault("annotations", answer["properties"]["annotations"])
    return True


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        "metadata-limits",
        "the limits of metadata stand in the prose of every edition and are enforced by the service",
        _metadata_limits,
    ),
    Erratum(
        "list-limits",
        "the bounds of a list's limit stand in the prose and are enforced by the service",
        _list_limits,
    ),
    Erratum(
        "file-batch-object",
        "file batches answer `vector_store.file_batch`, the spec has `vector_store.files_batch`",
        _allows("VectorStoreFileBatchObject", "object", "vector_store.file_batch"),
    ),
    Erratum(
        "message-without-status",
        "a message that was retrieved carries no status, incomplete_details, completed_at, incomplete_at",
        _optional("MessageObject", "status", "incomplete_details", "completed_at", "incomplete_at"),
    ),
    Erratum(
        "echoed-assistant-message",
        "applications append the assistant's message to the next request as it was received",
        _echoed_assistant_message,
    ),
)
