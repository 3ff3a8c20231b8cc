"""Changes that errata make to the items of the Responses API, each in place, as in `changes`."""

import copy
from collections.abc import Callable, Iterator

from spec.schema import PREFIX
from spec.types import JSON

_SENT = ".sent"
"""The end of the name of an item's schema in requests."""

_ID = {"type": ["string", "null"]}
_STATUS = {"type": ["string", "null"], "enum": ["in_progress", "completed", "incomplete", None]}

_OF_CLIENTS: JSON = {
    "internal_chat_message_metadata_passthrough": {},
    "created_by": {"type": ["string", "null"]},
}
"""Members of items that clients keep, and members of answers that they send back."""

_MADE_BY_SERVER = frozenset({"id", "status"})
"""Members that the server makes where a request leaves them out."""

_MAX_CALL_ID = 65536
"""Characters of a call's id: providers put a signature of the model's thoughts into it."""

_NOT_ITEMS = frozenset({"ItemReferenceParam", "CompactionTriggerItemParam"})

_OMITTED = {
    "OutputMessage": {"type"},
    "WebSearchToolCall": {"action"},
    "ComputerToolCall": {"pending_safety_checks"},
    "LocalShellExecAction": {"env"},
}
"""Members that clients leave out, by schema."""

_ECHOED = frozenset(
    {
        "FileSearchToolCall",
        "WebSearchToolCall",
        "ImageGenToolCall",
        "CodeInterpreterToolCall",
        "MCPListTools",
        "MCPToolCall",
    }
)
"""Items that only answers bring: they come back with all members that a server gave them."""

_FAILURES = ("ResponseErrorCode", "BetaResponseErrorCode")
_CODES = ("context_length_exceeded", "insufficient_quota")

_OTHER_MEMBERS = {"patternProperties": {"^(?!role$)": {}}, "additionalProperties": False}
"""Any member but `role`, which only messages have: a wrong message is not explained as one of these items."""

_PARTS = ("InputTextContentParam", "InputImageContentParamAutoParam", "InputFileContentParam")


def items_as_sent(document: JSON) -> bool:
    """Give items schemas of their own in requests, which take what clients leave out and send besides."""
    schemas = document["components"]["schemas"]
    union = schemas.get("InputItem")
    if union is None or any(name.endswith(_SENT) for name in _branches(schemas, "InputItem")):
        return False
    union["anyOf"] = [_reference(_add_sent(schemas, name)) for name in _branches(schemas, "InputItem")]
    return True


def codes_of_failures(document: JSON) -> bool:
    """Add the codes of a failed response that clients know and the enum lacks."""
    enums = [document["components"]["schemas"].get(name, {}).get("enum") for name in _FAILURES]
    missing = [enum for enum in enums if enum and not set(_CODES) <= set(enum)]
    for enum in missing:
        enum += [code for code in _CODES if code not in enum]
    return bool(missing)


def free_parameters(document: JSON) -> bool:
    """Let the parameters of a function, which are a JSON Schema, have members."""
    schema = document["components"]["schemas"].get("EmptyModelParam", {})
    return schema.pop("properties", None) is not None


def fields_of_codex(document: JSON) -> bool:
    """Accept the fields that Codex sends besides the spec's; a compaction's are those of the next request."""
    schemas = document["components"]["schemas"]
    parts = schemas.get("CreateResponse", {}).get("allOf", [{}])
    properties = parts[-1].get("properties")
    if properties is None or "generate" in properties:
        return False
    properties["generate"] = {"type": ["boolean", "null"]}
    properties["client_metadata"] = {"type": ["object", "null"]}
    search = schemas.get("WebSearchTool", {}).get("properties", {})
    preview = schemas.get("WebSearchPreviewTool", {}).get("properties", {})
    if "search_content_types" in preview:
        search.setdefault("search_content_types", preview["search_content_types"])
    counted = schemas.get("TokenCountsBody", {}).get("properties", {})
    compacted = schemas.get("CompactResponseMethodPublicBody", {}).get("properties", {})
    for name in ("tools", "parallel_tool_calls", "reasoning", "text"):
        if name in counted:
            compacted.setdefault(name, counted[name])
    return True


def _branches(schemas: JSON, union: str) -> Iterator[str]:
    """Yield the names of the items' schemas, each role's of a message once."""
    for branch in schemas[union]["anyOf"]:
        name = branch["$ref"].removeprefix(PREFIX)
        if name == "Item":
            yield from _branches(schemas, name)
        elif name != "InputMessage":  # is an EasyInputMessage, which may have an id here
            yield name


def _reference(name: str) -> JSON:
    return {"$ref": f"{PREFIX}{name}"}


def _add_sent(schemas: JSON, name: str) -> str:
    """Add the schema that a component has in requests; return its name."""
    if name in _NOT_ITEMS:
        return name
    sent = copy.deepcopy(schemas[name])
    optional = _MADE_BY_SERVER | _OMITTED.get(name, set())
    sent["required"] = [one for one in sent["required"] if one not in optional]
    properties = sent["properties"]
    for member, schema in (("id", _ID), ("status", _STATUS), *_OF_CLIENTS.items()):
        properties.setdefault(member, schema)
    if "call_id" in properties:
        properties["call_id"] = _longer(properties["call_id"])
    if name in _ECHOED:
        sent |= _OTHER_MEMBERS
    change, needed = _CHANGES.get(name, (None, ()))
    if change is not None and all(each in schemas for each in needed):
        change(schemas, properties)
    schemas[name + _SENT] = sent
    return name + _SENT


def _longer(schema: JSON) -> JSON:
    """Return the schema of a call's id with the length that ids of any provider have."""
    branches = [_longer(branch) for branch in schema.get("anyOf", ())]
    length = {"maxLength": _MAX_CALL_ID} if "maxLength" in schema else {}
    return {**schema, **length} | ({"anyOf": branches} if branches else {})


def _input_message(_schemas: JSON, properties: JSON) -> None:
    parts = {"anyOf": [_reference(part) for part in _PARTS]}
    properties["content"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": parts}]}


def _output_message(schemas: JSON, properties: JSON) -> None:
    text = copy.deepcopy(schemas["OutputTextContent"])
    text["required"] = ["type", "text"]
    schemas["OutputTextContent" + _SENT] = text
    parts = {"anyOf": [_reference("OutputTextContent" + _SENT), _reference("RefusalContent")]}
    properties["content"] = {"type": "array", "items": parts}


def _custom_output(schemas: JSON, properties: JSON) -> None:
    properties["output"] = schemas["FunctionCallOutputItemParam"]["properties"]["output"]
    properties["name"] = {"type": ["string", "null"]}


def _local_shell_call(schemas: JSON, properties: JSON) -> None:
    action = copy.deepcopy(schemas["LocalShellExecAction"])
    action["required"] = [one for one in action["required"] if one not in _OMITTED["LocalShellExecAction"]]
    schemas["LocalShellExecAction" + _SENT] = action
    properties["action"] = _reference("LocalShellExecAction" + _SENT)


def _local_shell_output(_schemas: JSON, properties: JSON) -> None:
    properties["call_id"] = _ID


_CHANGES: dict[str, tuple[Callable[[JSON, JSON], None], tuple[str, ...]]] = {
    "EasyInputMessage": (_input_message, _PARTS),
    "OutputMessage": (_output_message, ("OutputTextContent", "RefusalContent")),
    "CustomToolCallOutput": (_custom_output, ("FunctionCallOutputItemParam",)),
    "LocalShellToolCall": (_local_shell_call, ("LocalShellExecAction",)),
    "LocalShellToolCallOutput": (_local_shell_output, ()),
}
"""Changes of single items, and the schemas that they need: older editions do not have all."""


def wrapped_errors(document: JSON) -> bool:
    """Describe errors as they are sent, in a member `error`."""
    schemas = document["components"]["schemas"]
    if "ErrorResponse" not in schemas:
        return False
    applied = False
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation.get("responses", {}).items():
                json = answer.get("content", {}).get("application/json", {})
                if status.startswith("4") and json.get("schema") == _reference("Error"):
                    json["schema"] = _reference("ErrorResponse")
                    applied = True
    return applied


def orders_of_items(document: JSON) -> bool:
    """Have the newest first in lists of items, whose prose says so where the schema has no default."""
    applied = False
    for item in document["paths"].values():
        for parameter in item.get("get", {}).get("parameters", ()):
            if parameter["name"] == "order" and "default" not in parameter["schema"]:
                parameter["schema"]["default"] = "desc"
                applied = True
    return applied
