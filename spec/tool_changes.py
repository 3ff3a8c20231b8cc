"""Changes that errata make to the tools of the Assistants API, each in place, as in `changes`."""

from collections.abc import Iterator

from spec.schema import PREFIX
from spec.types import JSON, objects_within

_ADDED = ("MCPTool", "WebSearchTool", "WebSearchPreviewTool", "ImageGenTool")
"""Tools of the Responses API that assistants, runs and threads take too."""

_TYPES = ("mcp", "web_search", "image_generation")
_CALL = "RunStepDetailsToolCallsServerObject"
_CITATION = "MessageContentTextAnnotationsUrlCitationObject"


def tools_of_assistants(document: JSON) -> bool:
    """Let assistants and runs have the tools of the Responses API, and steps and messages show their work."""
    schemas = document["components"]["schemas"]
    added = [_reference(name) for name in _ADDED if name in schemas]
    unions = [union for union in _unions(schemas) if added and added[0] not in union]
    for union in unions:
        union.extend(added)
    if not unions:
        return False
    schemas["AssistantsNamedToolChoice"]["properties"]["type"]["enum"] += _TYPES
    schemas[_CALL], schemas[_CITATION] = _call(), _url_citation()
    calls = schemas["RunStepDetailsToolCallsObject"]["properties"]["tool_calls"]
    calls["items"]["anyOf"].append(_reference(_CALL))
    text = schemas["MessageContentTextObject"]["properties"]["text"]["properties"]
    text["annotations"]["items"]["anyOf"].append(_reference(_CITATION))
    return True


def _unions(schemas: JSON) -> Iterator[list[JSON]]:
    """Yield the unions of an assistant's tools that are somewhere in the document."""
    function = _reference("AssistantToolsFunction")
    return (one["anyOf"] for one in objects_within(schemas) if function in one.get("anyOf", ()))


def _reference(name: str) -> JSON:
    return {"$ref": PREFIX + name}


def _call() -> JSON:
    members: JSON = {name: {"type": "object"} for name in _TYPES}
    type = {"type": "string", "enum": list(_TYPES)}
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "type": type, **members},
        "required": ["type"],
    }


def _url_citation() -> JSON:
    integer, string = {"type": "integer"}, {"type": "string"}
    properties: JSON = {
        "type": {"type": "string", "enum": ["url_citation"]},
        "text": string,
        "url_citation": {"type": "object", "properties": {"url": string, "title": string}},
        "start_index": integer,
        "end_index": integer,
    }
    return {"type": "object", "properties": properties, "required": list(properties)}
