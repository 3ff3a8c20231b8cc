"""The OpenAPI document for the fuzzer: the served operations of an edition, as they are served."""

import json
import re
from collections.abc import Iterator
from typing import Any

from handlers.registry import registered_handlers
from persistence.types import JSON
from spec import edition
from spec.allow_null import allow_null
from tests.server import CACHE

SCHEMAS = "#/components/schemas/"
ANSWERED = "Answered."
MESSAGE = "EasyInputMessage.sent"
_OF_RUN = {"parameters": {"thread_id": "$response.body#/thread_id", "run_id": "$response.body#/id"}}
_OTHER_LINKS: dict[str, JSON] = {
    "/threads/runs": dict.fromkeys(("getRun", "listRunSteps", "cancelRun", "getRunEvents"), _OF_RUN),
    "/assistants": {"createThreadAndRun": {"requestBody": {"assistant_id": "$response.body#/id"}}},
    "/files": {"createVectorStore": {"requestBody": {"file_ids": ["$response.body#/id"]}}},
}
"""Links from a POST to operations whose path does not extend the POST's path."""


def _list(name: str, **limits: int) -> JSON:
    return {"type": ["array", "null"], "items": {"$ref": SCHEMAS + name}, **limits}


NONE: JSON = {"type": "null"}
FUNCTIONS = _list("AssistantToolsFunction", maxItems=20)
GRADER = {"$ref": f"{SCHEMAS}GraderStringCheck"}
MESSAGES = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "properties": {
            "role": {"type": "string", "enum": ["user", "assistant"]},
            "content": {"type": "string"},
        },
        "required": ["role", "content"],
    },
}
REPEATS: dict[tuple[str, str], JSON] = {
    ("TokenCountsBody", "tools"): NONE,
    ("CompactResponseMethodPublicBody", "tools"): NONE,
    ("ToolSearchOutputItemParam.sent", "tools"): _list("FunctionTool"),
    ("AdditionalToolsItemParam.sent", "tools"): _list("FunctionTool"),
    ("GraderMulti", "graders"): {"$ref": f"{SCHEMAS}GraderLabelModel"},
    ("RunGraderRequest", "grader"): GRADER,
    ("FineTuneReinforcementMethod", "grader"): GRADER,
    ("RealtimeCallCreateRequest", "session"): NONE,
    ("RealtimeSessionCreateRequest", "prompt"): NONE,
    ("CreateThreadAndRunRequest", "thread"): {
        "type": ["object", "null"],
        "properties": {"messages": MESSAGES},
    },
    ("CreateThreadAndRunRequest", "tools"): FUNCTIONS,
    ("CreateRunRequest", "additional_messages"): MESSAGES,
    ("CreateRunRequest", "tools"): FUNCTIONS,
    ("ModifyAssistantRequest", "tools"): FUNCTIONS,
}
"""Members of requests that another request has too, and the schema that they get in the document."""

RELAYED = frozenset(
    {
        "create-realtime-client-secret",
        "create-realtime-session",
        "create-realtime-transcription-session",
        "create-realtime-translation-client-secret",
        "createSpeech",
        "createTranscription",
        "createTranslation",
    }
)
"""Operations whose answers are not checked: of more formats than the edition has, or made up by the fake."""


def served_document(name: str) -> JSON:
    """Return an edition with only the operations that have a handler, and links from objects to their paths.

    Optional properties may be null, as the server allows.
    """
    loaded = edition.load(name, CACHE)
    names = set(registered_handlers())
    served = {
        (one.path, one.method.lower()): one
        for one in loaded.operations
        if one.name in names and not one.query
    }
    components = loaded.document["components"]["schemas"]
    # In requests, too, the server takes null for an optional property that is absent.
    everything = {"anyOf": [{"$ref": SCHEMAS + name} for name in components]}
    schemas = allow_null(everything, components)["components"]["schemas"]
    _leave_out_repeats(schemas)
    answered: JSON = {}
    paths: JSON = {}
    for path, item in loaded.document["paths"].items():
        for method, operation in item.items():
            if (path, method) not in served:
                continue
            public = served[path, method].name == "get_health"
            security: list[JSON] = [] if public else [{"ApiKeyAuth": []}]
            paths.setdefault(path, {})[method] = {
                **_answering(operation, schemas, answered),
                "security": security,
            }
    for path, item in paths.items():
        if "post" in item:
            answers = item["post"]["responses"]
            answers[min(answers)]["links"] = dict(_links(path, paths))
    document = {
        "openapi": "3.1.0",
        "info": {"title": "served", "version": "1"},
        "servers": [{"url": "/v1"}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, **answered},
            "securitySchemes": {"ApiKeyAuth": {"type": "http", "scheme": "bearer"}},
        },
    }
    # A deep copy: the edition is shared, and its operations share parameters.
    copy: JSON = json.loads(json.dumps(document))
    return copy


def _leave_out_repeats(schemas: JSON) -> None:
    """Have what several requests may contain in one of them alone: each of its members is a hundred cases.

    Items of every type are in createConversationItems, tools in createResponse and createAssistant, graders
    in validateGrader, messages of a thread in createThread.
    """
    if MESSAGE in schemas:
        _set(schemas.get("CreateConversationBody", {}), "items", _list(MESSAGE, maxItems=20))
        for name in ("CreateResponse", "TokenCountsBody", "CompactResponseMethodPublicBody"):
            _set(schemas.get(name, {}), "input", {"anyOf": [{"type": "string"}, _list(MESSAGE)]})
    for (name, member), schema in REPEATS.items():
        _set(schemas.get(name, {}), member, schema)


def _set(schema: JSON, member: str, value: JSON) -> None:
    """Replace a member in a schema and in those that it consists of."""
    if member in schema.get("properties", {}):
        schema["properties"][member] = value
    for part in schema.get("allOf", ()):
        _set(part, member, value)


def _links(path: str, paths: JSON) -> Iterator[tuple[str, JSON]]:
    """Yield links from a POST to a list to each operation with the new object's id in its path."""
    own = re.compile(re.escape(path) + r"/\{(\w+)\}(/[^{]*)?")
    given = {one: f"$request.path.{one}" for one in re.findall(r"\{(\w+)\}", path)}
    others = _OTHER_LINKS.get(path, {})
    for other, item in paths.items():
        found = own.fullmatch(other)
        for id in (operation["operationId"] for operation in item.values()):
            if found:
                yield id, {"operationId": id, "parameters": {**given, found[1]: "$response.body#/id"}}
            elif id in others:
                yield id, {"operationId": id, **others[id]}


def _answering(operation: JSON, schemas: JSON, answered: JSON) -> JSON:
    """The operation with its answers' schemas forgiving nulls; those that they refer to go to `answered`."""
    responses = json.loads(json.dumps(operation["responses"]))
    if operation["operationId"] in RELAYED:
        return {**operation, "responses": {"200": {"description": "What the provider answers, as it is."}}}
    for response in responses.values():
        for media, content in response.get("content", {}).items():
            if media == "text/event-stream":
                # The schema describes an event's data; Schemathesis would compare the whole event with it.
                content.pop("schema", None)
            if "schema" not in content:
                continue
            schema = allow_null(content["schema"], schemas)
            referred = schema.pop("components", {}).get("schemas", {})
            content["schema"] = _renamed(schema)
            answered.update({ANSWERED + name: _renamed(one) for name, one in referred.items()})
    return {**operation, "responses": responses}


def _renamed(schema: Any) -> Any:
    """Return a schema that refers to the answers' schemas; their names are no values of a discriminator."""
    schema = _without_discriminators(schema)
    text = json.dumps(schema).replace(f'"$ref": "{SCHEMAS}', f'"$ref": "{SCHEMAS}{ANSWERED}')
    return json.loads(text.replace(f'"{SCHEMAS}', f'"{SCHEMAS}{ANSWERED}') if '"mapping"' in text else text)


def _without_discriminators(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_discriminators(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: one for name, one in schema.items() if name != "discriminator" or "propertyName" not in one}
    return {name: _without_discriminators(one) for name, one in kept.items()}
