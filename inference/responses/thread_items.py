"""A thread's messages and calls as items of a conversation, and a conversation's messages as a thread's."""

from collections.abc import Iterator, Mapping
from typing import Any

from inference.assistants.objects import message_object, text_part
from inference.engine.items import APPROVAL_REQUEST, APPROVE, DENY
from inference.responses import objects
from inference.responses.items import PREFIXES, conversation_item_id
from inference.retrieval.citations import MARK
from persistence.types import JSON

TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
"""Types of an item's parts that are texts."""


# --- from a thread ---


def message_item(message: JSON, filenames: Mapping[str, str]) -> JSON:
    """Return a thread's message as an item; `filenames` are those of the files that it cites."""
    is_answer = message["role"] == "assistant"
    make = _output_part if is_answer else _input_part
    return {
        "id": message["id"],
        "type": "message",
        "status": "incomplete" if message["status"] == "incomplete" else "completed",
        "role": message["role"],
        "content": [make(part, filenames) for part in message["content"]],
    }


def cited_files(message: JSON) -> Iterator[str]:
    """Yield the ids of the files that a thread's message cites."""
    for part in message["content"]:
        for annotation in part["text"]["annotations"] if part["type"] == "text" else ():
            if annotation["type"] == "file_citation":
                yield annotation["file_citation"]["file_id"]


def _input_part(part: JSON, _filenames: Mapping[str, str]) -> JSON:
    match part["type"]:
        case "text":
            return {"type": "input_text", "text": part["text"]["value"]}
        case "refusal":
            return {"type": "input_text", "text": part["refusal"]}
        case kind:  # image_url and image_file
            image = part[kind]
            source = {"image_url": image["url"]} if kind == "image_url" else {"file_id": image["file_id"]}
            return {"type": "input_image", "detail": image.get("detail") or "auto", **source}


def _output_part(part: JSON, filenames: Mapping[str, str]) -> JSON:
    match part["type"]:
        case "text":
            found = [_annotation(each, filenames) for each in part["text"]["annotations"]]
            text, annotations = part["text"]["value"], [each for each in found if each is not None]
            return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}
        case "refusal":
            return {"type": "refusal", "refusal": part["refusal"]}
        case kind:  # an item of the assistant has no images
            image = part[kind]
            text = f"[The image {image.get('file_id') or image.get('url')}]"
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _annotation(annotation: JSON, filenames: Mapping[str, str]) -> JSON | None:
    if annotation["type"] == "file_path":
        file_id = annotation["file_path"]["file_id"]
        return {"type": "file_path", "file_id": file_id, "index": annotation["start_index"]}
    if annotation["type"] == "url_citation":
        return {"type": "url_citation", **annotation["url_citation"], **_offsets(annotation)}
    file_id = annotation["file_citation"]["file_id"]
    filename = filenames.get(file_id, "")
    return {
        "type": "file_citation",
        "file_id": file_id,
        "filename": filename,
        "index": annotation["start_index"],
    }


def _offsets(annotation: JSON) -> JSON:
    return {name: annotation[name] for name in ("start_index", "end_index")}


def call_items(step: JSON, conversation_id: str) -> list[JSON]:
    """Return the calls of a run step as items, their outputs behind them.

    Functions without an output are left out: a conversation with such a call cannot be continued. So are
    calls of tools whose items say nothing without what the step does not have.
    """
    calls: list[JSON] = []
    outputs: list[JSON] = []
    for call in step["step_details"]["tool_calls"]:
        kind, details = call["type"], call.get(call["type"]) or {}
        if kind not in _CALLS or (kind == "function" and _says_nothing(details)):
            continue
        item = _CALLS[kind](details)
        if kind == "function":
            item["call_id"] = call["id"]
            output = {"type": "function_call_output", "call_id": call["id"], "output": details["output"]}
            outputs.append(output)
        calls.append(item)
    return [
        {"id": conversation_item_id(PREFIXES[item["type"]], conversation_id), "status": "completed", **item}
        for item in (*calls, *outputs)
    ]


def _says_nothing(function: JSON) -> bool:
    """Return whether a function has no output, or is a request for approval, whose call is there too."""
    output = function.get("output")
    return output is None or (function["name"] == APPROVAL_REQUEST and output in (APPROVE, DENY))


def _function_call(details: JSON) -> JSON:
    return {"type": "function_call", "name": details["name"], "arguments": details["arguments"]}


def _file_search_call(details: JSON) -> JSON:
    found = [objects.file_search_result(result) for result in details.get("results") or ()]
    return {"type": "file_search_call", "queries": [], "results": found}


def _code_interpreter_call(details: JSON) -> JSON:
    outputs = [each for each in details.get("outputs") or () if each["type"] == "logs"]
    code = details.get("input") or ""
    return {"type": "code_interpreter_call", "container_id": "", "code": code, "outputs": outputs}


def _web_search_call(details: JSON) -> JSON:
    return {"type": "web_search_call", "action": details["action"]}


def _image_generation_call(details: JSON) -> JSON:
    known = {name: value for name, value in details.items() if name not in ("error", "file_id")}
    return {"type": "image_generation_call", "result": None, **known}


def _mcp_call(details: JSON) -> JSON:
    shown = {name: details[name] for name in ("server_label", "name", "arguments", "output", "error")}
    status = "completed" if details["error"] is None else "failed"
    return {"type": "mcp_call", "status": status, **shown, "approval_request_id": None}


_CALLS = {
    "function": _function_call,
    "file_search": _file_search_call,
    "code_interpreter": _code_interpreter_call,
    "mcp": _mcp_call,
    "web_search": _web_search_call,
    "image_generation": _image_generation_call,
}


# --- from a conversation ---


def thread_message(item: JSON, thread_id: str, at: int) -> JSON:
    """Return a message item of a conversation as a thread's message that was created `at`.

    Threads know no system or developer: their messages become the user's.
    """
    role = "assistant" if item["role"] == "assistant" else "user"
    attachments = [{"file_id": part["file_id"], "tools": []} for part in _files(item)]
    content = [_thread_part(part) for part in item["content"]]
    message = message_object(item["id"], thread_id, role, content, now=at, attachments=attachments)
    if item.get("status") == "incomplete":
        message |= {"status": "incomplete", "completed_at": None, "incomplete_at": at}
    return message


def _files(item: JSON) -> Iterator[JSON]:
    return (part for part in item["content"] if part["type"] == "input_file" and part.get("file_id"))


def _thread_part(part: JSON) -> JSON:
    kind: Any = part["type"]
    if kind in TEXTS:
        text = part["text"]
        found = (_thread_annotation(each, text) for each in part.get("annotations") or ())
        annotations = [each for each in found if each]
        return text_part(text, [_marked(each, text) for each in annotations])
    if kind == "refusal":
        return {"type": "refusal", "refusal": part["refusal"]}
    if part.get("image_url"):
        return _image("image_url", {"url": part["image_url"]}, part)
    if kind != "input_file" and part.get("file_id"):
        return _image("image_file", {"file_id": part["file_id"]}, part)
    name = part.get("filename") or part.get("file_id") or kind
    return text_part(f"[The file {name}]")


def _image(kind: str, source: JSON, part: JSON) -> JSON:
    return {"type": kind, kind: {**source, "detail": part.get("detail") or "auto"}}


def _thread_annotation(annotation: JSON, text: str) -> JSON | None:
    """Return an annotation of a file or a URL; threads have no others."""
    kind = annotation["type"]
    if kind == "url_citation":
        offsets = _offsets(annotation)
        cited = text[offsets["start_index"] : offsets["end_index"]]
        source = {"url": annotation["url"], "title": annotation["title"]}
        return {"type": kind, "text": cited, **offsets, kind: source}
    if kind not in ("file_citation", "file_path"):
        return None
    index = annotation["index"]
    return {
        "type": kind,
        "text": "",
        "start_index": index,
        "end_index": index,
        kind: {"file_id": annotation["file_id"]},
    }


def _marked(annotation: JSON, text: str) -> JSON:
    """Return an annotation with the mark that stands at its index, if there is one."""
    match = MARK.match(text, annotation["start_index"])
    return annotation if match is None else {**annotation, "text": match[0], "end_index": match.end()}
