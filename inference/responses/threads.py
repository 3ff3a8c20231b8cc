"""Copies threads into conversations, and conversations into threads."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from inference.assistants.objects import thread_object
from inference.assistants.renderer import CUT_OFF
from inference.assistants.runs import THREAD_DELETION
from inference.identifiers import new_id
from inference.responses.conversations import CONVERSATION_DELETION, conversation_object, item_key
from inference.responses.thread_items import call_items, cited_files, message_item, thread_message
from persistence import large_json
from persistence.collections import (
    CONVERSATION_ITEMS,
    CONVERSATIONS,
    FILES,
    MESSAGES,
    RUN_STEPS,
    RUNS,
    THREADS,
)
from persistence.listing import PAGE, pages
from persistence.retry import retry_on_conflict
from persistence.store import Document, Enqueue, Finish, Insert, Job, Key, Replace, Store, child_id
from persistence.types import JSON

BATCH_BYTES = 2 * 1024 * 1024
"""Bytes of documents that are written together, unless the first alone has more; Cassandra takes 8 MB."""

RUNS_AT_ONCE = 20
"""Runs whose steps are read at the same time."""

UNFINISHED = 3600.0
"""Seconds after which a copy that was not finished is deleted."""

COPY = "copy"
"""State of a thread or conversation: the id of the conversation or thread that was made of it."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is made: its collection, the prefix of its id, and the job that deletes it."""

    collection: str
    prefix: str
    deletion: str


_CONVERSATION = _Kind(CONVERSATIONS, "conv_", CONVERSATION_DELETION)
_THREAD = _Kind(THREADS, "thread_", THREAD_DELETION)


async def conversation_of_thread(store: Store, thread: Document) -> JSON | None:
    """Return the conversation with a thread's messages and calls; the first call makes it.

    Order and times are the thread's. None if the thread was deleted meanwhile.
    """
    created_at, metadata = thread.value["created_at"], thread.value["metadata"]

    def make(id: str) -> tuple[JSON, AsyncIterator[Insert]]:
        value = conversation_object(id, now=created_at, metadata=metadata)
        return value, _items(store, thread, id)

    return await _copied(store, thread, _CONVERSATION, make)


async def thread_of_conversation(store: Store, conversation: Document) -> JSON | None:
    """Return the thread with a conversation's messages; the first call makes it.

    Order and times are the conversation's. None if the conversation was deleted meanwhile.
    """
    created_at, metadata = conversation.value["created_at"], conversation.value["metadata"]

    def make(id: str) -> tuple[JSON, AsyncIterator[Insert]]:
        value = thread_object(id, now=created_at, metadata=metadata)
        return value, _messages(store, conversation, id)

    return await _copied(store, conversation, _THREAD, make)


async def _copied(
    store: Store,
    source: Document,
    kind: _Kind,
    make: Callable[[str], tuple[JSON, AsyncIterator[Insert]]],
) -> JSON | None:
    """Return the copy of `source` that there is, or make one; None if the source is deleted meanwhile.

    A copy is not seen before the last write, which names it in its source's state. One that is not finished
    is deleted by a job.
    """
    if found := await _copy_of(store, source, kind):
        return found
    project, id = source.key.project, new_id(kind.prefix)
    value, documents = make(id)
    job = Job(project, kind.deletion, id, due=time.time() + UNFINISHED, owner=id)
    await store.write(Enqueue(job))
    async for some in _batches(documents):
        await store.write(*some)

    async def finish() -> JSON | None:
        fresh = await store.get(source.key)
        other = await _copy_of(store, fresh, kind) if fresh else None
        if fresh is None or other:
            await store.write(Enqueue(replace(job, due=time.time(), owner="")))
            return other
        named = Replace(fresh, state={**fresh.state, COPY: id})
        copy = Insert(Key(project, kind.collection, id), value, position=source.position)
        await store.write(Finish(job), named, copy)
        return value

    return await retry_on_conflict(finish)


async def _copy_of(store: Store, source: Document, kind: _Kind) -> JSON | None:
    id = source.state.get(COPY)
    copy = await store.get(Key(source.key.project, kind.collection, id)) if id else None
    return None if copy is None else copy.value


async def _batches(documents: AsyncIterator[Insert]) -> AsyncIterator[list[Insert]]:
    """Yield the documents of one list in batches; their positions grow."""
    batch: list[Insert] = []
    room, last = BATCH_BYTES, 0
    async for document in documents:
        last = max(last + 1, document.position or 0)
        size = len(await large_json.dumps(document.value))
        if batch and (len(batch) == PAGE or size > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(replace(document, position=last))
        room -= size
    if batch:
        yield batch


# --- of a thread ---


async def _items(store: Store, thread: Document, conversation_id: str) -> AsyncIterator[Insert]:
    """Yield the items of a thread's conversation: its messages, each run's calls ahead of the answer."""
    project = thread.key.project

    def insert(item: JSON, position: int) -> Insert:
        key = item_key(project, conversation_id, item["id"])
        return Insert(key, item, parent=conversation_id, position=position)

    steps = _steps(store, project, thread.id)
    step = await anext(steps, None)
    filenames: dict[str, str] = {}
    async for page in pages(store, project, MESSAGES, thread.id):
        await _add_filenames(store, project, page, filenames)
        for message in page:
            while step is not None and _is_before(step, message):
                for item in _calls(step, conversation_id):
                    yield insert(item, step.position)
                step = await anext(steps, None)
            if message.value["content"] and not message.state.get(CUT_OFF):
                yield insert(message_item(message.value, filenames), message.position)
    while step is not None:
        for item in _calls(step, conversation_id):
            yield insert(item, step.position)
        step = await anext(steps, None)


def _is_before(step: Document, message: Document) -> bool:
    """Return whether a step belongs ahead of a message: by the order of steps in a run, else by the time."""
    if step.value["run_id"] != message.value["run_id"]:
        return step.position < message.position
    created = step.value["step_details"].get("message_creation")
    return created is None or created["message_id"] != message.value["id"]


def _calls(step: Document, conversation_id: str) -> list[JSON]:
    is_message = step.value["type"] == "message_creation"
    return [] if is_message else call_items(step.value, conversation_id)


async def _steps(store: Store, project: str, thread_id: str) -> AsyncIterator[Document]:
    """Yield the steps of a thread's runs, oldest first."""
    async for runs in pages(store, project, RUNS, thread_id):
        for start in range(0, len(runs), RUNS_AT_ONCE):
            some = runs[start : start + RUNS_AT_ONCE]
            for steps in await asyncio.gather(
                *(_all(pages(store, project, RUN_STEPS, run.id)) for run in some)
            ):
                for step in steps:
                    yield step


async def _all(pages: AsyncIterator[list[Document]]) -> list[Document]:
    return [document async for page in pages for document in page]


async def _add_filenames(store: Store, project: str, messages: list[Document], names: dict[str, str]) -> None:
    """Add the names of the files that messages cite; a deleted file has none."""
    cited = {id for message in messages for id in cited_files(message.value)} - names.keys()
    for file in await asyncio.gather(*(store.get(Key(project, FILES, id)) for id in cited)):
        if file is not None:
            names[file.id] = file.value["filename"]


# --- of a conversation ---


async def _messages(store: Store, conversation: Document, thread_id: str) -> AsyncIterator[Insert]:
    """Yield the messages of a conversation's thread; calls are left out, as a thread has them in its runs."""
    project = conversation.key.project
    async for page in pages(store, project, CONVERSATION_ITEMS, conversation.id):
        for item in page:
            if item.value["type"] != "message" or not item.value["content"]:
                continue
            message = thread_message(item.value, thread_id, item.position // 1_000_000)
            key = Key(project, MESSAGES, child_id(thread_id, message["id"]))
            yield Insert(key, message, parent=thread_id, position=item.position)
