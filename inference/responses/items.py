"""Items of responses and conversations in their stored form: what the edition's ItemResource describes."""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from inference.errors import InferenceError
from inference.identifiers import LENGTH, new_id
from persistence.large_json import Pauses
from persistence.types import JSON

PREFIXES = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "file_search_call": "fs_",
    "web_search_call": "ws_",
    "code_interpreter_call": "ci_",
    "image_generation_call": "ig_",
    "computer_call": "cu_",
    "computer_call_output": "cuo_",
    "local_shell_call": "lsh_",
    "local_shell_call_output": "lsho_",
    "shell_call": "sh_",
    "shell_call_output": "sho_",
    "apply_patch_call": "apc_",
    "apply_patch_call_output": "apco_",
    "mcp_call": "mcp_",
    "mcp_list_tools": "mcpl_",
    "mcp_approval_request": "mcpr_",
    "mcp_approval_response": "mcpa_",
    "tool_search_call": "tsc_",
    "tool_search_output": "tso_",
    "compaction": "cmp_",
    "additional_tools": "at_",
    "program": "prg_",
    "program_output": "prgo_",
}
"""The beginning of an item's id, by the item's type."""

REFERENCE = "item_reference"
TRIGGER = "compaction_trigger"
UNRESOLVED = frozenset({REFERENCE, TRIGGER})
"""Types of input that are no items: the caller of `stored_items` replaces or removes them."""

OUTPUT_TYPES = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "tool_search_call": "tool_search_output",
    "program": "program_output",
}
"""Calls whose output is an item of its own, and the type of that."""

CALL_TYPES = {output: call for call, output in OUTPUT_TYPES.items()}

EXTRA = "extra"
"""The member of a stored call that holds what its provider wants back with it; clients do not see it."""

ENCRYPTED_REASONING = "reasoning.encrypted_content"
"""What `include` has for the encrypted content of reasoning."""

_COMPLETED = {"status": "completed"}

_DEFAULTS: dict[str, JSON] = {
    "message": _COMPLETED,
    "reasoning": {"summary": []},
    "function_call": _COMPLETED,
    "function_call_output": _COMPLETED,
    "custom_tool_call": _COMPLETED,
    "custom_tool_call_output": _COMPLETED,
    "file_search_call": {"status": "completed", "queries": [], "results": None},
    "web_search_call": {"status": "completed", "action": {"type": "search", "queries": []}},
    "code_interpreter_call": {"status": "completed", "code": None, "outputs": None},
    "image_generation_call": {"status": "completed", "result": None},
    "computer_call": {"status": "completed", "pending_safety_checks": []},
    "computer_call_output": _COMPLETED,
    "local_shell_call": _COMPLETED,
    "local_shell_call_output": _COMPLETED,
    "shell_call": {"status": "completed", "environment": None},
    "shell_call_output": {"status": "completed", "max_output_length": None},
    "apply_patch_call": _COMPLETED,
    "apply_patch_call_output": _COMPLETED,
    "mcp_call": {"status": "completed", "output": None, "error": None},
    "tool_search_call": {"status": "completed", "call_id": None, "execution": "client"},
    "tool_search_output": {"status": "completed", "call_id": None, "execution": "client"},
    "additional_tools": {"role": "developer"},
    "program_output": _COMPLETED,
}
"""Members that a stored item always has, with what they are if the request leaves them out."""

_NOT_STORED = frozenset({"internal_chat_message_metadata_passthrough", "created_by"})
"""Members that clients send for themselves, and those that only answers have."""

_STATUSES = frozenset({"in_progress", "completed", "incomplete"})

_OWNER = {4: ("response", "resp_"), 8: ("conversation", "conv_")}
"""What made an item, by the number of characters that its id has behind its owner's."""

MAX_ID = 256
"""Characters of an item's id."""

MAX_ARGUMENTS = 4_194_304
"""Characters of a call's arguments: a model's answer has no more, and reading them takes long."""

_ID = re.compile(r"[A-Za-z0-9_-]+")

_OWNED = re.compile(r"[a-z]+_([0-9A-Za-z]{24})([0-9A-Za-z]{8}|[0-9a-f]{4})")


class ItemRefused(InferenceError):
    """An item or a tool of a request cannot be used; `param` names it, as in `input[3].call_id`."""

    def __init__(self, message: str, param: str = "input", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


# --- ids ---


def output_id(type: str, owner: str, index: int) -> str:
    """Return the id of a response's output item; `owner` is the response's id."""
    return owned_id(PREFIXES[type], owner, index)


def owned_id(prefix: str, owner: str, index: int) -> str:
    """Return the id of an item of the response `owner`, which is found by it."""
    return f"{prefix}{owner[-LENGTH:]}{index:04x}"


def conversation_item_id(prefix: str, owner: str) -> str:
    """Return a new id for an item that is made in the conversation `owner`."""
    return f"{prefix}{owner[-LENGTH:]}{new_id('')[:8]}"


def item_owner(item_id: str) -> tuple[str, str] | None:
    """Return what made an item, ("response", "resp_…") or ("conversation", "conv_…"), by its id's form."""
    match = _OWNED.fullmatch(item_id)
    if match is None:
        return None
    kind, prefix = _OWNER[len(match[2])]
    return kind, prefix + match[1]


# --- the stored form ---


def stored_items(input: str | list[JSON], make_id: Callable[[str], str], param: str = "input") -> list[JSON]:
    """Return a request's input as stored items.

    Items without an id get one from `make_id`, which takes the prefix (`msg_`). References and compaction
    triggers stay as they are. ItemRefused.
    """
    return list(_each_stored(input, make_id, param))


async def stored_items_in_slices(
    input: str | list[JSON], make_id: Callable[[str], str], param: str = "input"
) -> list[JSON]:
    """Return `stored_items`; other requests have their turn meanwhile, as there may be 50,000 items."""
    pauses, items = Pauses(), list[JSON]()
    for item in _each_stored(input, make_id, param):
        items.append(item)
        await pauses.pause_if_due()
    return items


def _each_stored(input: str | list[JSON], make_id: Callable[[str], str], param: str) -> Iterator[JSON]:
    given = [{"role": "user", "content": input}] if isinstance(input, str) else input
    return (_stored(item, make_id, f"{param}[{index}]") for index, item in enumerate(given))


def _stored(given: JSON, make_id: Callable[[str], str], param: str) -> JSON:
    type = given.get("type") or ("message" if "role" in given else REFERENCE)
    if type in UNRESOLVED:
        return {"type": type} | ({"id": given["id"]} if type == REFERENCE else {})
    if type not in PREFIXES:
        raise ItemRefused(f"Items of the type '{type}' are not supported.", f"{param}.type", "invalid_value")
    present = {name: value for name, value in given.items() if value is not None and name not in _NOT_STORED}
    if type == "local_shell_call_output" and "call_id" not in present:
        if not present.get("id"):
            message = f"Missing required parameter: '{param}.call_id'."
            raise ItemRefused(message, f"{param}.call_id", "missing_required_parameter")
        present["call_id"] = present.pop("id")  # SDKs have no other member for it
    id = present.pop("id", None) or make_id(PREFIXES[type])
    _check_id(id, f"{param}.id")
    arguments = present.get("arguments")
    if isinstance(arguments, str) and len(arguments) > MAX_ARGUMENTS:
        raise _too_long(f"{param}.arguments", MAX_ARGUMENTS, len(arguments))
    item = {"id": id, "type": type, **_DEFAULTS.get(type, {}), **present}
    normalize = _NORMALIZE.get(type)
    if normalize is not None:
        normalize(item, param)
    return item


def _check_id(id: str, param: str) -> None:
    if len(id) > MAX_ID:
        raise _too_long(param, MAX_ID, len(id))
    if not _ID.fullmatch(id):
        message = (
            f"Invalid '{param}': '{id}'. Expected an ID that contains letters, numbers, underscores, or "
            "dashes, but this value contained additional characters."
        )
        raise ItemRefused(message, param, "invalid_value")


def _too_long(param: str, limit: int, length: int) -> ItemRefused:
    message = (
        f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {length} instead."
    )
    return ItemRefused(message, param, "string_above_max_length")


def _message(item: JSON, param: str) -> None:
    is_output = item["role"] == "assistant"
    content = item["content"]
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    make = _output_part if is_output else _input_part
    item["content"] = [make(part, f"{param}.content[{index}]") for index, part in enumerate(parts)]


def _output_part(part: JSON, param: str) -> JSON:
    match part["type"]:
        case "input_text" | "output_text":
            annotations, logprobs = part.get("annotations") or [], part.get("logprobs") or []
            text = part["text"]
            return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}
        case "refusal":
            return {"type": "refusal", "refusal": part["refusal"]}
        case type:
            message = f"Invalid value: '{type}'. Supported values are: 'output_text' and 'refusal'."
            raise ItemRefused(message, param, "invalid_value")


def _input_part(part: JSON, param: str) -> JSON:
    present = {name: value for name, value in part.items() if value is not None}
    match part["type"]:
        case "input_image":
            present.setdefault("detail", "auto")
            _one_source(present, ("image_url", "file_id"), param)
        case "input_file":
            _one_source(present, ("file_data", "file_id", "file_url"), param)
    return present


def _one_source(part: JSON, names: tuple[str, ...], param: str) -> None:
    if not any(name in part for name in names):
        listed = " or ".join(f"'{param}.{name}'" for name in names)
        raise ItemRefused(f"Missing required parameter: {listed}.", param, "missing_required_parameter")


def _custom_call(item: JSON, _param: str) -> None:
    """Keep a status that is one: requests have none for custom tools, answers do."""
    if not isinstance(item["status"], str) or item["status"] not in _STATUSES:
        item["status"] = "completed"


def _custom_output(item: JSON, param: str) -> None:
    _custom_call(item, param)
    _tool_output(item, param)


def _tool_output(item: JSON, param: str) -> None:
    output = item["output"]
    if isinstance(output, list):
        item["output"] = [_input_part(part, f"{param}.output[{i}]") for i, part in enumerate(output)]


def _reasoning(item: JSON, _param: str) -> None:
    """Drop an empty text, which clients send back in place of an encrypted one."""
    if not item.get("content"):
        item.pop("content", None)


def _local_shell_call(item: JSON, _param: str) -> None:
    present = {name: value for name, value in item["action"].items() if value is not None}
    item["action"] = {"env": {}, **present}


def _computer_output(item: JSON, _param: str) -> None:
    if item["status"] == "in_progress":  # a stored one has ended
        item["status"] = "completed"


def _shell_call(item: JSON, _param: str) -> None:
    item["action"] = {"timeout_ms": None, "max_output_length": None, **item["action"]}


_NORMALIZE: dict[str, Callable[[JSON, str], None]] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call_output": _tool_output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _custom_output,
    "local_shell_call": _local_shell_call,
    "computer_call_output": _computer_output,
    "shell_call": _shell_call,
}


def named_files(items: list[JSON], name: str, param: str = "input") -> Iterator[tuple[str, str]]:
    """Yield each `file_id` or `file_url` of items, and where it stands: `input[0].content[1].file_id`."""
    for index, item in enumerate(items):
        yield from named_in(item, name, f"{param}[{index}]")


def named_in(item: JSON, name: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield each `file_id` or `file_url` of the item at that path, and where it stands."""
    for member in ("content", "output"):
        parts = item.get(member)
        if isinstance(parts, dict) and parts.get(name):
            yield parts[name], f"{path}.{member}.{name}"
        elif isinstance(parts, list):
            for index, part in enumerate(parts):
                if part.get(name):
                    yield part[name], f"{path}.{member}[{index}].{name}"


# --- what clients see ---


def shown(item: JSON, include: Collection[str]) -> JSON:
    """Return an item as lists and retrieves show it: large members only if `include` names them.

    Images always show their URL: clients send listed items back, and a model cannot read one without it.
    """
    hide = _HIDE.get(item["type"])
    return item if hide is None else hide(item, include)


def _hide(name: str, member: str, empty: Any) -> Callable[[JSON, Collection[str]], JSON]:
    def hide(item: JSON, include: Collection[str]) -> JSON:
        return item if name in include or not item.get(member) else {**item, member: empty}

    return hide


def _hide_encrypted(item: JSON, include: Collection[str]) -> JSON:
    if ENCRYPTED_REASONING in include:
        return item
    return {name: value for name, value in item.items() if name != "encrypted_content"}


def _hide_logprobs(item: JSON, include: Collection[str]) -> JSON:
    if "message.output_text.logprobs" in include or not any(part.get("logprobs") for part in item["content"]):
        return item
    parts = [{**part, "logprobs": []} if part.get("logprobs") else part for part in item["content"]]
    return {**item, "content": parts}


def _hide_extra(item: JSON, _include: Collection[str]) -> JSON:
    """Hide what the call's provider wants back."""
    return {name: value for name, value in item.items() if name != EXTRA} if EXTRA in item else item


def _hide_search(item: JSON, include: Collection[str]) -> JSON:
    """Hide the sources and the results of a web search."""
    item = dict(item)
    if "web_search_call.results" not in include:
        item.pop("results", None)
    if "web_search_call.action.sources" not in include:
        item["action"] = {name: value for name, value in item["action"].items() if name != "sources"}
    return item


_HIDE: dict[str, Callable[[JSON, Collection[str]], JSON]] = {
    "message": _hide_logprobs,
    "reasoning": _hide_encrypted,
    "file_search_call": _hide("file_search_call.results", "results", None),
    "code_interpreter_call": _hide("code_interpreter_call.outputs", "outputs", None),
    "web_search_call": _hide_search,
    **dict.fromkeys(OUTPUT_TYPES, _hide_extra),
}
