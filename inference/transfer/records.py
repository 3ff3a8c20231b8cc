"""The kinds of objects that are imported, and the documents that they become."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from inference.assistants.objects import run_label
from inference.defaults import ASSISTANT, RANKING_OPTIONS, SAMPLING, tool_with_defaults
from inference.engine.state import RunState
from inference.engine.statuses import ENDED
from inference.parsing.chunking import AUTO
from inference.retrieval.attachments import labels, vector_store_file_id
from inference.retrieval.counts import empty_counts
from inference.retrieval.files import purpose_label
from persistence.collections import (
    ASSISTANTS,
    CONVERSATION_ITEMS,
    CONVERSATIONS,
    FILE_VECTOR_STORES,
    FILES,
    MESSAGES,
    RUN_STEPS,
    RUNS,
    THREADS,
    VECTOR_STORE_FILES,
    VECTOR_STORES,
)
from persistence.store import Document, Key, child_id
from persistence.types import JSON

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")

LATEST = 10**11
"""Seconds since the epoch from which on a time is none: it would be in the year 5138."""

REQUIRED = object()
"""Stands for the default of a field that has none."""


class BrokenRecord(Exception):
    """A record that cannot be imported; the message says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its fields with their defaults, and the operation that answers one."""

    collection: str
    operation: str
    fields: Mapping[str, Any]


def _common(kind: str) -> JSON:
    return {"id": REQUIRED, "object": kind, "created_at": REQUIRED}


KINDS: Mapping[str, Kind] = {
    "files": Kind(
        FILES,
        "retrieveFile",
        {
            **_common("file"),
            "purpose": "assistants",
            "filename": REQUIRED,
            "bytes": 0,
            "expires_at": None,
            "status": "processed",
            "status_details": None,
        },
    ),
    "vector_stores": Kind(
        VECTOR_STORES,
        "getVectorStore",
        {
            **_common("vector_store"),
            "name": "",
            "description": None,
            "usage_bytes": 0,
            "file_counts": empty_counts(),
            "status": "completed",
            "expires_after": None,
            "metadata": {},
            "last_active_at": REQUIRED,
            "expires_at": None,
        },
    ),
    "vector_store_files": Kind(
        VECTOR_STORE_FILES,
        "getVectorStoreFile",
        {
            **_common("vector_store.file"),
            "usage_bytes": 0,
            "vector_store_id": REQUIRED,
            "status": "completed",
            "last_error": None,
            "chunking_strategy": AUTO.rendered(),
            "attributes": {},
        },
    ),
    "assistants": Kind(
        ASSISTANTS,
        "getAssistant",
        {
            **_common("assistant"),
            "model": REQUIRED,
            **ASSISTANT,
        },
    ),
    "threads": Kind(THREADS, "getThread", {**_common("thread"), "metadata": {}, "tool_resources": {}}),
    "messages": Kind(
        MESSAGES,
        "getMessage",
        {
            **_common("thread.message"),
            "assistant_id": None,
            "thread_id": REQUIRED,
            "run_id": None,
            "status": "completed",
            "incomplete_details": None,
            "incomplete_at": None,
            "completed_at": None,
            "role": REQUIRED,
            "content": [],
            "attachments": [],
            "metadata": {},
        },
    ),
    "runs": Kind(
        RUNS,
        "getRun",
        {
            **_common("thread.run"),
            "assistant_id": REQUIRED,
            "thread_id": REQUIRED,
            "status": REQUIRED,
            "started_at": None,
            "expires_at": None,
            "cancelled_at": None,
            "failed_at": None,
            "completed_at": None,
            "required_action": None,
            "last_error": None,
            "model": REQUIRED,
            "instructions": "",
            "tools": [],
            "tool_resources": {},
            "metadata": {},
            "temperature": 1.0,
            "top_p": 1.0,
            "reasoning_effort": None,
            "max_completion_tokens": None,
            "max_prompt_tokens": None,
            "truncation_strategy": {"type": "auto", "last_messages": None},
            "incomplete_details": None,
            "usage": None,
            "response_format": "auto",
            "tool_choice": "auto",
            "parallel_tool_calls": True,
        },
    ),
    "run_steps": Kind(
        RUN_STEPS,
        "getRunStep",
        {
            **_common("thread.run.step"),
            "run_id": REQUIRED,
            "assistant_id": REQUIRED,
            "thread_id": REQUIRED,
            "type": REQUIRED,
            "status": REQUIRED,
            "cancelled_at": None,
            "completed_at": None,
            "expires_at": None,
            "expired_at": None,
            "failed_at": None,
            "last_error": None,
            "step_details": REQUIRED,
            "metadata": {},
            "usage": None,
        },
    ),
    "conversations": Kind(CONVERSATIONS, "getConversation", {**_common("conversation"), "metadata": {}}),
    "conversation_items": Kind(
        CONVERSATION_ITEMS,
        "getConversationItem",
        {
            "id": REQUIRED,
            "conversation_id": REQUIRED,
            "created_at": REQUIRED,  # the conversation's: items have no time of their own
            "number": REQUIRED,
            "item": REQUIRED,
        },
    ),
}
"""The kinds in the order of an import: an object comes after those that it belongs to."""


def complete(kind: str, record: Any) -> JSON:
    """Return an object with every field that this server's objects have, and no other.

    Raise BrokenRecord for a field that is missing and has no default, and for an unusable id.
    """
    if not isinstance(record, dict):
        raise BrokenRecord("is no JSON object")
    value: JSON = {}
    for name, default in KINDS[kind].fields.items():
        given = record.get(name)
        if given is None:
            if default is REQUIRED:
                raise BrokenRecord(f"has no '{name}'")
            given = copy.deepcopy(default)
        value[name] = given
    if "object" in KINDS[kind].fields:
        value["object"] = KINDS[kind].fields["object"]
    if kind == "files" and isinstance(record.get("embedding_model"), str):
        value["embedding_model"] = record["embedding_model"]  # which clients of Astra Assistants read
    for name in ("id", "thread_id", "run_id", "vector_store_id", "conversation_id"):
        id = value.get(name)
        if id is not None and not is_id(id):
            raise BrokenRecord(f"has an unusable '{name}': {str(id)[:80]!r}")
    for name, time in value.items():
        if name.endswith("_at") and time is not None and not _is_time(time):
            raise BrokenRecord(f"has a '{name}' that is no time in seconds: {str(time)[:80]}")
    orjson.dumps([[[value]]])  # as deep as in an answer; raises TypeError for what cannot be stored
    return _settled(kind, value)


def is_id(value: Any) -> TypeGuard[str]:
    """Return whether a value can be an object's id."""
    return isinstance(value, str) and ID.fullmatch(value) is not None


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LATEST


def _settled(kind: str, value: JSON) -> JSON:
    """Return the object in a state that can be stored: nothing works on it here."""
    if "tool_resources" in value:
        resources = value["tool_resources"]
        value["tool_resources"] = {name: each for name, each in resources.items() if each is not None}
    match kind:
        case "vector_stores":
            value["file_counts"] = empty_counts()  # counted again when its files are loaded
        case "assistants" | "runs":
            value["tools"] = [tool_with_defaults(tool) for tool in value["tools"]]
        case "vector_store_files" if value["chunking_strategy"].get("type") != "static":
            value["chunking_strategy"] = AUTO.rendered()
        case "messages" if value["status"] not in ("completed", "incomplete"):
            value["status"] = "incomplete"
            value["incomplete_details"] = value["incomplete_details"] or {"reason": "run_failed"}
        case "run_steps":
            if value["status"] == "in_progress":
                value["status"], value["expired_at"] = "expired", value["created_at"]
            value["step_details"] = _details(value["step_details"])
    if kind == "runs" and value["status"] not in ENDED:  # no server will go on with it
        value["status"], value["required_action"] = "expired", None
    return value


def _details(details: JSON) -> JSON:
    if details.get("type") != "tool_calls":
        return details
    calls = [_call(call) for call in details.get("tool_calls") or []]
    return {"type": "tool_calls", "tool_calls": calls}


def _call(call: JSON) -> JSON:
    if call.get("type") != "file_search":
        return call
    search = {"ranking_options": RANKING_OPTIONS, "results": [], **(call.get("file_search") or {})}
    return {**call, "file_search": search}


def position(value: JSON) -> int:
    """Return where an object belongs in its list; the store moves those of the same second apart."""
    return int(value["created_at"]) * 1_000_000 + int(value.get("number", 0))


def document(project: str, kind: str, value: JSON) -> Document:
    """Return the document of a complete object that is neither a file nor in a vector store."""
    id, parent, state = value["id"], "", {}
    marks: frozenset[str] = frozenset()
    match kind:
        case "assistants":
            state = {"options": {name: value[name] for name in SAMPLING if value[name] != 1}}
        case "messages":
            id, parent = child_id(value["thread_id"], id), value["thread_id"]
            marks = frozenset({run_label(value["run_id"])}) if value["run_id"] else marks
        case "runs":
            parent, state = value["thread_id"], RunState(value["status"]).to_json()
        case "run_steps":
            id, parent = child_id(value["run_id"], id), value["run_id"]
        case "conversation_items":
            id, parent = child_id(value["conversation_id"], id), value["conversation_id"]
    key = Key(project, KINDS[kind].collection, id)
    return Document(key, answered(kind, value), state, parent, marks, position=position(value))


def answered(kind: str, value: JSON) -> JSON:
    """Return a complete object as the API answers it."""
    item: JSON = value["item"] if kind == "conversation_items" else value
    return item


def parent_key(project: str, kind: str, value: JSON) -> Key | None:
    """Return the key of the object without which this one cannot be read."""
    match kind:
        case "messages" | "runs":
            return Key(project, THREADS, value["thread_id"])
        case "run_steps":
            return Key(project, RUNS, value["run_id"])
        case "conversation_items":
            return Key(project, CONVERSATIONS, value["conversation_id"])
        case _:
            return None


def file_document(project: str, value: JSON, content: str, size: int) -> Document:
    """Return the document of a file whose bytes are the content of that id."""
    return Document(
        Key(project, FILES, value["id"]),
        {**value, "bytes": size, "status": "processed"},
        {"content": content, "media_type": ""},
        labels=frozenset({purpose_label(value["purpose"])}),
        position=position(value),
    )


def vector_store_documents(project: str, value: JSON, filename: str) -> list[Document]:
    """Return the documents of a file in a vector store: its own, and the link from the file."""
    store = value["vector_store_id"]
    id = vector_store_file_id(store, value["id"])
    return [
        Document(
            Key(project, VECTOR_STORE_FILES, id),
            value,
            {"batch": None, "filename": filename},
            store,
            labels(value["status"], None),
            position=position(value),
        ),
        Document(
            Key(project, FILE_VECTOR_STORES, id),
            {"vector_store_id": store},
            parent=value["id"],
            position=position(value),
        ),
    ]
