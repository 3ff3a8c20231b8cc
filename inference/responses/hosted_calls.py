"""Calls that a server answered, as the function calls that a chat model reads."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from inference.code.result_texts import shortened
from inference.engine.items import NOT_APPROVED
from inference.image_generation.generated_images import is_reference
from inference.responses.function_names import function_name
from inference.responses.functions import object_arguments
from inference.web.web_search import called_function, results_text
from persistence.types import JSON

NOT_KEPT = "[The results are no longer there.]"


class HostedCall(NamedTuple):
    """A call as a function's: its name, its arguments as JSON, and the chat parts of its output."""

    name: str
    arguments: str
    output: list[JSON]


def text_part(text: str) -> JSON:
    """Return a text as a part of a chat message."""
    return {"type": "text", "text": text}


def _call(name: str, arguments: JSON, *output: JSON) -> HostedCall:
    dumped = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return HostedCall(name, dumped, list(output))


def _file_search(item: JSON) -> HostedCall:
    results = item.get("results")
    passages = [f"{one.get('filename', '')}\n{one.get('text', '')}" for one in results or ()]
    none = NOT_KEPT if results is None else "Nothing was found in the files."
    queries = {"queries": item["queries"]}
    return _call("file_search", queries, text_part("\n\n".join(passages) or none))


def _web_search(item: JSON) -> HostedCall:
    name, arguments = called_function(item["action"])
    results = item.get("results") or item["action"].get("sources")
    return _call(name, arguments, text_part(results_text(results) if results else NOT_KEPT))


def _code_interpreter(item: JSON) -> HostedCall:
    outputs = item.get("outputs")
    texts = [one["logs"] if one["type"] == "logs" else "[An image was made.]" for one in outputs or ()]
    none = NOT_KEPT if outputs is None else "The code wrote nothing."
    return _call(
        "code_interpreter", {"code": item.get("code") or ""}, text_part(shortened("\n".join(texts)) or none)
    )


def _image_generation(item: JSON) -> HostedCall:
    prompt = {"prompt": item.get("revised_prompt") or ""}
    if not item.get("result"):
        return _call("image_generation", prompt, text_part(NOT_KEPT))
    if is_reference(item["result"]):  # the model reads no images
        return _call("image_generation", prompt, text_part("The image was made, and the user sees it."))
    url = f"data:image/{item.get('output_format') or 'png'};base64,{item['result']}"
    image = {"type": "input_image", "image_url": url}
    return _call("image_generation", prompt, text_part("The image was made."), image)


def _mcp(item: JSON) -> HostedCall:
    error = item.get("error")
    output = f"Error: {_error(error)}" if error else item.get("output") or ""
    name = function_name(item["name"], item["server_label"])
    return HostedCall(name, object_arguments(item["arguments"]), [text_part(output)])


def _denied(item: JSON, reason: str | None) -> HostedCall:
    said = f"{NOT_APPROVED} Reason: {reason}" if reason else NOT_APPROVED
    return _mcp({**item, "output": said})


def denials(items: list[JSON]) -> dict[str, HostedCall]:
    """Return the calls that the user did not approve, by the ids of the requests for approval."""
    answers = (item for item in items if item["type"] == "mcp_approval_response")
    reasons = {each["approval_request_id"]: each.get("reason") for each in answers if not each["approve"]}
    denied = (item for item in items if item.get("id") in reasons and "arguments" in item)
    return {item["id"]: _denied(item, reasons[item["id"]]) for item in denied}


def _error(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    return str(error.get("message") or json.dumps(error.get("content"), ensure_ascii=False))


HOSTED: dict[str, Callable[[JSON], HostedCall]] = {
    "file_search_call": _file_search,
    "web_search_call": _web_search,
    "code_interpreter_call": _code_interpreter,
    "image_generation_call": _image_generation,
    "mcp_call": _mcp,
}
"""By the type of the item."""
