"""Assistants, threads and messages: what is stored, what is refused, and whose it is."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers import assistants, messages, threads
from handlers.errors import BadRequest, NotFound
from inference.gateway import Gateway
from persistence.store import Insert, Key, Store
from tests.fixtures.pages import PAGE
from tests.fixtures.refusals import refused
from tests.fixtures.stores import store
from tests.inference.engine.process import Process, gateway_to, process

__all__ = ["store"]

UNSEEN = "http://127.0.0.1:9/v1"
"""No model is asked here."""


@pytest.fixture
async def worker(store: Store) -> AsyncIterator[Process]:
    gateway: Gateway = gateway_to(UNSEEN)
    async with process(store, gateway) as worker:
        yield worker


async def add_file(worker: Process, id: str, project: str = "p") -> None:
    file = {"id": id, "object": "file", "filename": "a.txt", "bytes": 1}
    await worker.store.write(Insert(Key(project, "files", id), file, state={"content": id}))


# --- assistants ---


async def test_an_assistant_has_every_field_with_openais_defaults(worker: Process) -> None:
    made = await worker.assistant()

    rest = {name: value for name, value in made.items() if name not in ("id", "created_at")}
    assert rest == {
        "object": "assistant",
        "name": None,
        "description": None,
        "model": "m",
        "instructions": None,
        "tools": [],
        "top_p": 1.0,
        "temperature": 1.0,
        "reasoning_effort": None,
        "tool_resources": {},
        "metadata": {},
        "response_format": "auto",
    }
    assert made["id"].startswith("asst_")
    assert len(made["id"]) == len("asst_") + 24


async def test_an_update_changes_the_given_fields_only(worker: Process) -> None:
    made = await worker.assistant(name="A", temperature=0.5, metadata={"a": "1"})

    changed = await assistants.modify_assistant(
        worker.context(), made["id"], {"name": "B", "temperature": None, "metadata": {"b": "2"}}
    )

    assert changed == {**made, "name": "B", "temperature": 1.0, "metadata": {"b": "2"}}
    assert await assistants.get_assistant(worker.context(), made["id"]) == changed


async def test_a_deleted_assistant_is_not_found(worker: Process) -> None:
    made = await worker.assistant()

    answer = await assistants.delete_assistant(worker.context(), made["id"])

    assert answer == {"id": made["id"], "object": "assistant.deleted", "deleted": True}
    error = await refused(assistants.get_assistant(worker.context(), made["id"]), NotFound)
    assert error.message == f"No assistant found with id '{made['id']}'."


@pytest.mark.parametrize("id", ["asst_x", "thread_x", "../asst", "asst'--", "", "a" * 1000])
async def test_an_unknown_id_is_404(worker: Process, id: str) -> None:
    await refused(assistants.get_assistant(worker.context(), id), NotFound)
    await refused(assistants.modify_assistant(worker.context(), id, {"name": "x"}), NotFound)
    await refused(assistants.delete_assistant(worker.context(), id), NotFound)
    await refused(threads.get_thread(worker.context(), id), NotFound)
    await refused(threads.delete_thread(worker.context(), id), NotFound)


async def test_another_projects_objects_are_404_wherever_a_request_names_them(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread("Hello")
    (message,) = await worker.messages(thread["id"])
    await add_file(worker, "file-theirs", project="p")
    theirs = {"code_interpreter": {"file_ids": ["file-theirs"]}}
    other = worker.context("q")

    await refused(assistants.get_assistant(other, assistant["id"]), NotFound)
    await refused(threads.get_thread(other, thread["id"]), NotFound)
    await refused(messages.get_message(other, thread["id"], message["id"]), NotFound)
    await refused(messages.list_messages(other, thread["id"], **PAGE), NotFound)
    error = await refused(threads.create_thread(other, {"tool_resources": theirs}), NotFound)
    assert error.param == "tool_resources.code_interpreter.file_ids[0]"
    stores = {"file_search": {"vector_store_ids": ["vs_unknown"]}}
    body = {"model": "m", "tool_resources": stores}
    error = await refused(assistants.create_assistant(other, body), NotFound)
    assert error.param == "tool_resources.file_search.vector_store_ids[0]"
    mine = await threads.create_thread(other, {})
    attached = [{"file_id": "file-theirs", "tools": [{"type": "code_interpreter"}]}]
    said = {"role": "user", "content": "x", "attachments": attached}
    error = await refused(messages.create_message(other, mine["id"], said), NotFound)
    assert error.param == "attachments[0].file_id"
    assert (await assistants.list_assistants(other, **PAGE))["data"] == []


# --- messages ---


async def test_a_message_has_every_field(worker: Process) -> None:
    thread = await worker.thread()
    made = await worker.message(thread["id"], "Hello")

    rest = {name: value for name, value in made.items() if name not in ("id", "created_at", "completed_at")}
    assert rest == {
        "object": "thread.message",
        "thread_id": thread["id"],
        "status": "completed",
        "incomplete_details": None,
        "incomplete_at": None,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "Hello", "annotations": []}}],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ("", "content"),
        ([], "content"),
        ([{"type": "text", "text": "x"}, {"type": "text", "text": ""}], "content[1].text"),
        ([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}], "content[0].image_url.url"),
        ([{"type": "image_url", "image_url": {"url": ""}}], "content[0].image_url.url"),
    ],
    ids=["empty", "no-parts", "empty-part", "file-url", "no-url"],
)
async def test_empty_text_and_urls_of_no_image_are_refused(worker: Process, content: Any, param: str) -> None:
    thread = await worker.thread()
    assert (await refused(worker.message(thread["id"], content), BadRequest)).param == param
    assert await worker.messages(thread["id"]) == []


async def test_a_refused_thread_leaves_no_messages(worker: Process) -> None:
    good, bad = {"role": "user", "content": "x"}, {"role": "user", "content": ""}
    error = await refused(threads.create_thread(worker.context(), {"messages": [good, bad]}))
    assert error.param == "messages[1].content"
    assert (await threads.list_threads(worker.context(), **PAGE))["data"] == []


async def test_messages_are_listed_in_order_with_cursors_of_their_own_thread(worker: Process) -> None:
    thread, other = await worker.thread(*"abcde"), await worker.thread("x")
    said = await worker.messages(thread["id"])
    (strange,) = await worker.messages(other["id"])
    context = worker.context()

    page = await messages.list_messages(context, thread["id"], limit=2, order="asc", after=said[1]["id"])
    assert page["data"] == said[2:4]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (said[2]["id"], said[3]["id"], True)
    error = await refused(messages.list_messages(context, thread["id"], **PAGE, after=strange["id"]))
    assert error.param == "after"


async def test_a_message_is_found_in_its_own_thread_only(worker: Process) -> None:
    thread, other = await worker.thread("a"), await worker.thread("b")
    (message,) = await worker.messages(thread["id"])
    context = worker.context()

    await refused(messages.get_message(context, other["id"], message["id"]), NotFound)
    await refused(messages.modify_message(context, other["id"], message["id"], {"metadata": {}}), NotFound)
    await refused(messages.delete_message(context, other["id"], message["id"]), NotFound)
    await messages.delete_message(context, thread["id"], message["id"])
    assert await worker.messages(thread["id"]) == []


async def test_attached_files_are_given_to_the_threads_tools(worker: Process) -> None:
    await add_file(worker, "file-1")
    await add_file(worker, "file-2")
    tools = [{"type": "code_interpreter"}, {"type": "file_search"}]
    thread = await worker.thread()

    await worker.message(thread["id"], "x", attachments=[{"file_id": "file-1", "tools": tools}])
    await worker.message(thread["id"], "y", attachments=[{"file_id": "file-2", "tools": tools[:1]}])

    resources = (await threads.get_thread(worker.context(), thread["id"]))["tool_resources"]
    assert resources["code_interpreter"] == {"file_ids": ["file-1", "file-2"]}
    assert len(resources["file_search"]["vector_store_ids"]) == 1


async def test_a_thread_can_be_made_with_a_vector_store(worker: Process) -> None:
    await add_file(worker, "file-1")
    stores = {"file_search": {"vector_stores": [{"file_ids": ["file-1"], "metadata": {"a": "b"}}]}}

    thread = await worker.thread(tool_resources=stores)

    (id,) = thread["tool_resources"]["file_search"]["vector_store_ids"]
    document = await worker.store.get(Key("p", "vector_stores", id))
    assert document is not None
    assert document.value["metadata"] == {"a": "b"}
