"""Changes of upstream's spec that bound how long a request's lists and texts may be."""

import re
from collections.abc import Iterator, Mapping

from spec.changes import REQUEST, schema_at, schemas_within
from spec.types import JSON

_CHAT_MESSAGE = re.compile(r"ChatCompletionRequest[A-Z][a-z]+Message")

MAX_MESSAGES = {"CreateThreadRequest.messages": 32, "CreateRunRequest.additional_messages": 100}
MAX_PARTS = 100
MAX_OUTPUTS = 1000
OUTPUTS = "SubmitToolOutputsRunRequest.tool_outputs"
LONGEST = {
    "CreateMessageRequest.content": 256_000,
    "MessageRequestContentTextObject.text": 256_000,
    "CreateImageRequest.prompt": 32_000,
    "CreateImageEditRequest.prompt": 32_000,
    "CreateRunRequest.instructions": 256_000,
    "CreateRunRequest.additional_instructions": 256_000,
    "CreateThreadAndRunRequest.instructions": 256_000,
    OUTPUTS: 1_048_576,
}
MAX_STORE_FILES = 10_000


def lengths_of_threads(document: JSON) -> bool:
    """Bound what one request can add to a thread: 32 messages is OpenAI's limit, the others are ours.

    A new vector store takes 10,000 files, as in older editions.
    """
    arrays = [(one, most) for path, most in MAX_MESSAGES.items() for one in _schemas(document, path)]
    for field in ("content", "attachments"):
        arrays += [(one, MAX_PARTS) for one in _schemas(document, f"CreateMessageRequest.{field}")]
    for component in ("CreateAssistantRequest", "CreateThreadRequest"):
        resources = _schemas(document, f"{component}.tool_resources")
        arrays += [(one, MAX_STORE_FILES) for one in resources if one.get("maxItems", 0) > MAX_STORE_FILES]
    applied = [(one, most) for one, most in arrays if "items" in one and one.get("maxItems") != most]
    for one, most in applied:
        one["maxItems"] = most
    return bool(applied)


def lengths_of_texts(document: JSON) -> bool:
    """Bound the texts of messages, runs and image requests; we bound a run's outputs, also in number."""
    arrays = [one for one in _schemas(document, OUTPUTS) if "items" in one and "maxItems" not in one]
    for one in arrays:
        one["maxItems"] = MAX_OUTPUTS
    return _bound_texts(document, LONGEST) or bool(arrays)


def lengths_of_file_ids(document: JSON) -> bool:
    """Let a message of version 1 be made without files, and show all that version 2 attached."""
    bounds = (("CreateMessageRequest.file_ids", "minItems"), ("MessageObject.file_ids", "maxItems"))
    applied = [schema_at(document, path).pop(keyword, None) for path, keyword in bounds]
    return any(applied)


def lengths_of_searches(document: JSON) -> bool:
    """Bound a search to 32 queries of 4,096 characters, and an upload to 10,000 parts: limits of ours."""
    bounds = (("VectorStoreSearchRequest.query", 32, 4096), ("CompleteUploadRequest.part_ids", 10_000, 64))
    applied = False
    for path, most, longest in bounds:
        for one in _schemas(document, path):
            keyword, limit = {"array": ("maxItems", most), "string": ("maxLength", longest)}.get(
                one.get("type", ""), ("", 0)
            )
            if keyword and keyword not in one:
                one[keyword] = limit
                applied = True
    return applied


def lengths_of_model_names(document: JSON) -> bool:
    """Bound a model's name, which is a key of caches and metrics, to between 1 and 256 characters."""
    operations = (one for item in document["paths"].values() for one in item.values())
    parameters = [one for each in operations for one in each["parameters"] if one["name"] == "model"]
    unbounded = [one["schema"] for one in parameters if "maxLength" not in one["schema"]]
    for schema in unbounded:
        schema["maxLength"] = 256
    applied = bool(unbounded)
    for component, schema in document["components"]["schemas"].items():
        for one in schemas_within(schema) if REQUEST.fullmatch(component) else ():
            properties = one.get("properties", {})
            if "model" in properties and "maxLength" not in str(properties["model"]):
                properties["model"] = {"allOf": [properties["model"], {"minLength": 1, "maxLength": 256}]}
                applied = True
    return applied


MAX_TEXT = 10_485_760
TEXTS = (
    "ChatCompletionRequestMessageContentPartText.text",
    "ChatCompletionRequestMessageContentPartRefusal.refusal",
    "CreateCompletionRequest.prompt",
    "CreateEmbeddingRequest.input",
    "CreateModerationRequest.input",
    "InputParam",
    "EasyInputMessage.content",
    "InputTextContent.text",
    "OutputTextContent.text",
)


def lengths_of_inputs(document: JSON) -> bool:
    """Bound each text of a model's input as the newest edition does for some of them."""
    components = document["components"]["schemas"]
    paths = [*TEXTS, *(f"{name}.content" for name in components if _CHAT_MESSAGE.fullmatch(name))]
    return _bound_texts(document, dict.fromkeys(paths, MAX_TEXT))


def _bound_texts(document: JSON, longest: Mapping[str, int]) -> bool:
    """Bound the texts within the schemas at the paths, but for those that have a bound."""
    schemas = ((one, most) for path, most in longest.items() for one in _schemas(document, path))
    texts = [(one, most) for one, most in schemas if "string" in one.get("type", "")]
    unbounded = [(one, most) for one, most in texts if not {"maxLength", "enum", "format"} & one.keys()]
    for one, most in unbounded:
        one["maxLength"] = most
    return bool(unbounded)


def _schemas(document: JSON, path: str) -> Iterator[JSON]:
    return schemas_within(schema_at(document, path))
