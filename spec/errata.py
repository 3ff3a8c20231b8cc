"""Where upstream's spec is wrong about its own service: real traffic and the SDK's types win.

Each erratum names the component that it changes and says why. It applies to every edition that has
that component, and does nothing to the others; a test holds each against what was observed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from spec.schema import SCHEMAS, SCHEMAS_BY_NAME, SCHEMAS_IN_LIST
from spec.types import JSON

_NULL = {"type": "null"}


@dataclass(frozen=True, slots=True)
class Erratum:
    """One change to a document; `change` alters it in place and says whether it applied."""

    name: str
    reason: str
    change: Callable[[JSON], bool]


def apply_errata(document: JSON) -> JSON:
    """A mended document with all errata applied, in place."""
    for erratum in ERRATA:
        erratum.change(document)
    return document


# --- the ways of a change ---


def _at(document: JSON, path: str) -> JSON:
    """The schema at `Component.property.property`; empty where the edition has none there."""
    component, *names = path.split(".")
    schema = document["components"]["schemas"].get(component, {})
    for name in names:
        schema = schema.get("properties", {}).get(name, {})
    return schema if isinstance(schema, dict) else {}


def _optional(path: str, *properties: str) -> Callable[[JSON], bool]:
    """Properties that the spec requires and the service leaves out."""

    def change(document: JSON) -> bool:
        schema = _at(document, path)
        required = schema.get("required", [])
        kept = [name for name in required if name not in properties]
        if len(kept) == len(required):
            return False
        schema["required"] = kept
        return True

    return change


def _allows(path: str, prop: str, *values: str) -> Callable[[JSON], bool]:
    """Values that the service sends and the spec's enum does not have."""

    def change(document: JSON) -> bool:
        enum = _at(document, f"{path}.{prop}")
        added = [value for value in values if value not in enum.get("enum", values)]
        if not added:
            return False
        enum["enum"] = [*enum["enum"], *added]
        return True

    return change


def _also(path: str, prop: str, other: JSON) -> Callable[[JSON], bool]:
    """A property that the service sends in another type as well."""

    def change(document: JSON) -> bool:
        properties = _at(document, path).get("properties", {})
        if prop not in properties or other in properties[prop].get("anyOf", ()):
            return False
        properties[prop] = {"anyOf": [properties[prop], dict(other)]}
        return True

    return change


def _shows(prop: str, kind: str, *components: str) -> Callable[[JSON], bool]:
    """A property that the service's objects have, of that type or null, and the spec's do not."""

    def change(document: JSON) -> bool:
        properties = [_at(document, component).get("properties") for component in components]
        missing = [one for one in properties if one and prop not in one]
        for one in missing:
            one[prop] = {"type": [kind, "null"]}
        return bool(missing)

    return change


_OF_REQUEST = (
    "request_id", "tool_choice", "seed", "top_p", "temperature", "presence_penalty", "frequency_penalty",
    "input_user", "tools", "metadata", "response_format",
)  # fmt: skip


def _stored_completions(document: JSON) -> bool:
    """A stored completion shows what it was asked with."""
    properties = _at(document, "CreateChatCompletionResponse").get("properties", {})
    if "/chat/completions/{completion_id}" not in document["paths"] or "request_id" in properties:
        return False
    properties.update({name: {} for name in _OF_REQUEST if name not in properties})
    return True


def _two_vector_stores(document: JSON) -> bool:
    """The SDK offers both ways to name a vector store in one call, each for one."""
    applied = False
    for component in ("AssistantObject", "ModifyAssistantRequest", "ModifyThreadRequest", "ThreadObject"):
        for one in _within(document["components"]["schemas"].get(component)):
            ids = one.get("properties", {}).get("vector_store_ids", {})
            if ids.get("maxItems") == 1:
                ids["maxItems"] = 2
                applied = True
    return applied


def _file_contents(document: JSON) -> bool:
    """A file's content is its bytes, whatever they are."""
    content = document["paths"].get("/files/{file_id}/content", {}).get("get", {})
    answer = content.get("responses", {}).get("200", {}).get("content", {})
    if "application/json" not in answer:
        return False
    del answer["application/json"]
    answer["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return True


def _streams(document: JSON) -> bool:
    """What is asked for with `stream` is answered as events."""
    applied = False
    for path in _STREAMED:
        answer = document["paths"].get(path, {}).get("post", {}).get("responses", {}).get("200", {})
        content = answer.get("content", {})
        if content and "text/event-stream" not in content:
            content["text/event-stream"] = {}
            applied = True
    return applied


_STREAMED = (
    "/completions",
    "/threads/runs",
    "/threads/{thread_id}/runs",
    "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs",
)


def _exact_seeds(document: JSON) -> bool:
    """A `seed` is of 64 bits; newer editions round its bounds, or say so by a format alone."""
    bounds = {"minimum": -(2**63), "maximum": 2**63 - 1}
    schemas = document["components"]["schemas"].values()
    objects = (one for schema in schemas for one in _within(schema))
    seeds = (one.get("properties", {}).get("seed") for one in objects)
    wide = [each for seed in seeds for each in _within(seed) if {"minimum", "format"} & each.keys()]
    applied = [each for each in wide if {**each, **bounds} != each]
    for each in applied:
        each.update(bounds)
    return bool(applied)


def _empty_lists(document: JSON) -> bool:
    """`first_id` and `last_id` of a list in which there is nothing are null."""
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


def _pages_of_files(document: JSON) -> bool:
    """Files are listed in pages, as everything else is."""
    listed = document["paths"].get("/files", {}).get("get", {})
    parameters = listed.get("parameters", [])
    if not listed or any(one["name"] == "limit" for one in parameters):
        return False
    for name, schema in (
        ("limit", {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000}),
        ("order", {"type": "string", "enum": ["asc", "desc"], "default": "desc"}),
        ("after", {"type": "string"}),
    ):
        parameters.append({"name": name, "in": "query", "schema": schema})
    return True


def _function_names(document: JSON) -> bool:
    """The name of an assistant's function is one that a model can call."""
    tool = _at(document, "AssistantToolsFunction").get("properties", {})
    if tool.get("function", {}).keys() != {"$ref"}:
        return False
    name = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
    tool["function"] = {"allOf": [tool["function"], {"type": "object", "properties": {"name": name}}]}
    return True


def _attachments_name_files(document: JSON) -> bool:
    """An attachment is of a file."""
    arrays = _within(_at(document, "CreateMessageRequest.attachments"))
    items = [one["items"] for one in arrays if "file_id" in one.get("items", {}).get("properties", {})]
    items = [one for one in items if "required" not in one]
    for one in items:
        one["required"] = ["file_id"]
    return bool(items)


MAX_MESSAGES = {"CreateThreadRequest.messages": 32, "CreateRunRequest.additional_messages": 100}
MAX_PARTS = 100


def _lengths_of_threads(document: JSON) -> bool:
    """Bounds on what one request can add to a thread: 32 messages is OpenAI's, the others are ours."""
    arrays = [(one, most) for path, most in MAX_MESSAGES.items() for one in _within(_at(document, path))]
    arrays += [(one, MAX_PARTS) for one in _within(_at(document, "CreateMessageRequest.content"))]
    applied = [(one, most) for one, most in arrays if "items" in one and one.get("maxItems") != most]
    for one, most in applied:
        one["maxItems"] = most
    return bool(applied)


def _lengths_of_model_names(document: JSON) -> bool:
    """The name of a model is a short text; it is a key of caches and metrics."""
    applied = False
    for component, schema in document["components"]["schemas"].items():
        for one in _within(schema) if _REQUEST.fullmatch(component) else ():
            properties = one.get("properties", {})
            if "model" in properties and "maxLength" not in str(properties["model"]):
                properties["model"] = {"allOf": [properties["model"], {"maxLength": 256}]}
                applied = True
    return applied


def _echoed_assistant_message(document: JSON) -> bool:
    """What a completion answered may be sent back as a message, `annotations` and all."""
    known = _at(document, "ChatCompletionRequestAssistantMessage").get("properties", {})
    answered = _at(document, "ChatCompletionResponseMessage").get("properties", {})
    if not known or "annotations" not in answered or "annotations" in known:
        return False
    known["annotations"] = answered["annotations"]
    return True


def _messages_of_any_role(document: JSON) -> bool:
    """A stored completion's messages are its request's: of any role, with any kind of content part."""
    members = _at(document, "ChatCompletionMessageList.data").get("items", {}).get("allOf", [])
    answered = _at(document, "ChatCompletionResponseMessage")
    if not members or "$ref" not in members[0] or not answered:
        return False
    members[0] = {**answered, "properties": {**answered["properties"], "role": {"type": "string"}}}
    for member in members[1:]:
        if "content_parts" in member.get("properties", {}):
            member["properties"]["content_parts"] = {"type": ["array", "null"], "items": {"type": "object"}}
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
        "pages-of-files",
        "older editions list files without limit, order and after, which the service takes",
        _pages_of_files,
    ),
    Erratum(
        "function-names",
        "the characters of a function's name stand in the prose and are enforced by the service",
        _function_names,
    ),
    Erratum(
        "attachments-name-files",
        "an attachment without a file_id attaches nothing; the service refuses it",
        _attachments_name_files,
    ),
    Erratum(
        "lengths-of-threads",
        "the service takes 32 messages with a new thread; one request must not write without bounds",
        _lengths_of_threads,
    ),
    Erratum(
        "lengths-of-model-names",
        "the spec bounds no model's name",
        _lengths_of_model_names,
    ),
    Erratum(
        "described-vector-stores",
        "a vector store answers its description",
        _shows("description", "string", "VectorStoreObject"),
    ),
    Erratum(
        "shown-reasoning-effort",
        "assistants and runs answer their reasoning_effort",
        _shows("reasoning_effort", "string", "AssistantObject", "RunObject"),
    ),
    Erratum(
        "stored-completions",
        "a stored completion answers the fields of its request",
        _stored_completions,
    ),
    Erratum(
        "shown-tool-resources",
        "a run answers its tool_resources",
        _shows("tool_resources", "object", "RunObject"),
    ),
    Erratum(
        "empty-list-ids",
        "a list in which there is nothing answers null for its first and last id",
        _empty_lists,
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
        "run-without-instructions",
        "a run of an assistant that has no instructions answers null for them",
        _also("RunObject", "instructions", _NULL),
    ),
    Erratum(
        "step-without-expired-at-and-metadata",
        "run steps carry expires_at, no expired_at and no metadata",
        _optional("RunStepObject", "expired_at", "metadata"),
    ),
    Erratum(
        "vector-store-without-name",
        "a vector store that was given no name answers null for it",
        _also("VectorStoreObject", "name", _NULL),
    ),
    Erratum(
        "embedding-as-base64",
        "with encoding_format base64, which the SDK asks for, an embedding is a string",
        _also("Embedding", "embedding", {"type": "string"}),
    ),
    Erratum(
        "file-content-is-binary",
        "the content of a file is answered as bytes, the spec has a string in JSON",
        _file_contents,
    ),
    Erratum(
        "exact-seeds",
        "the bounds of a seed are those of 64 bits, which newer editions round",
        _exact_seeds,
    ),
    Erratum(
        "streams",
        "text completions and runs that are asked for with `stream` are answered as events",
        _streams,
    ),
    Erratum(
        "files-of-any-purpose",
        "a file keeps the purpose that it was uploaded for, of which the spec's files lack some",
        _allows("OpenAIFile", "purpose", "evals", "user_data"),
    ),
    Erratum(
        "two-vector-stores",
        "an assistant or thread that is given a vector store, and another one to be made, has both",
        _two_vector_stores,
    ),
    Erratum(
        "usage-without-cache-writes",
        "the usage of a response does not always say how many tokens were written to the cache",
        _optional("ResponseUsage.input_tokens_details", "cache_write_tokens"),
    ),
    Erratum(
        "echoed-assistant-message",
        "applications append the assistant's message to the next request as it was received",
        _echoed_assistant_message,
    ),
    Erratum(
        "stored-messages-of-any-role",
        "the messages of a stored completion are what was asked, the spec has the assistant's alone",
        _messages_of_any_role,
    ),
)
