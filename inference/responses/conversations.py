"""Conversations: their objects and items, and the response that holds one while it runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from inference.deletion import Deletion
from inference.engine.state import ACTIVE_RUN, FENCE
from inference.jobs import Jobs
from inference.responses.errors import ConversationLocked, ConversationNotFound
from inference.responses.objects import conversation_items, has_ended
from inference.responses.state import INPUT
from persistence.collections import CONVERSATION_ITEMS, CONVERSATIONS, GENERATED_IMAGES, RESPONSES
from persistence.errors import AlreadyExists, VersionConflict
from persistence.listing import pages
from persistence.retry import retry_from
from persistence.store import Document, Insert, Key, Replace, Store, child_id
from persistence.types import JSON

CONVERSATION_DELETION = "conversation_deletion"
"""The kind of the jobs that delete the items of conversations."""


def conversation_object(id: str, *, now: int, metadata: JSON | None = None) -> JSON:
    """Return a conversation without items."""
    return {"id": id, "object": "conversation", "created_at": now, "metadata": metadata or {}}


def item_key(project: str, conversation_id: str, item_id: str) -> Key:
    """Return the key of a conversation's item."""
    return Key(project, CONVERSATION_ITEMS, child_id(conversation_id, item_id))


def item_inserts(project: str, conversation_id: str, items: Sequence[JSON]) -> list[Insert]:
    """Return the writes that append items, which are in stored form and have their ids."""
    return [
        Insert(item_key(project, conversation_id, item["id"]), item, parent=conversation_id) for item in items
    ]


async def newest_items(store: Store, project: str, id: str, until: str | None = None) -> AsyncIterator[JSON]:
    """Yield a conversation's items in stored form, the newest first; read by pages, as far as asked.

    With `until`, begin with the item of that id, if it still exists.
    """
    last = await store.get(item_key(project, id, until)) if until is not None else None
    if last is not None:
        yield last.value
    async for page in pages(store, project, CONVERSATION_ITEMS, id, after=last, order="desc"):
        for document in page:
            yield document.value


async def settled(store: Store, conversation: Document) -> Document:
    """Return the conversation with all that a response which has ended has to add; ConversationNotFound.

    Where a response's end and its items are two transactions, a crash can leave the second undone. The
    returned state names an active run only if a response really runs. Costs a read only where it names one.
    """
    if ACTIVE_RUN not in conversation.state:
        return conversation

    async def read() -> Document:
        document = await store.get(conversation.key)
        if document is None:
            raise ConversationNotFound(conversation.id)
        return document

    return await retry_from(conversation, read, partial(_settle, store), (VersionConflict, AlreadyExists))


async def _settle(store: Store, conversation: Document) -> Document:
    response_id = conversation.state.get(ACTIVE_RUN)
    if response_id is None:
        return conversation
    project = conversation.key.project
    response = await store.get(Key(project, RESPONSES, response_id))
    free = {name: value for name, value in conversation.state.items() if name not in (ACTIVE_RUN, FENCE)}
    if response is None:  # deleted, or not written yet: it may still need the version that it knows
        return replace(conversation, state=free)
    if not has_ended(response.value):
        return conversation
    items = conversation_items(response.value, response.state["extra"][INPUT])
    inserts = item_inserts(project, conversation.id, items)
    present = await asyncio.gather(*(store.get(insert.key) for insert in inserts))
    missing = [insert for insert, there in zip(inserts, present, strict=True) if there is None]
    # The release is last: after a crash before it, the next reader appends what is missing.
    return (await store.write(*missing, Replace(conversation, state=free)))[-1]


def check_unlocked(conversation: Document) -> None:
    """Raise ConversationLocked if a response runs on a conversation, which is settled."""
    if ACTIVE_RUN in conversation.state:
        raise ConversationLocked


class Conversations:
    """The conversations of a store."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._deletion = Deletion(
            store, jobs, CONVERSATION_DELETION, (CONVERSATION_ITEMS,), with_contents=(GENERATED_IMAGES,)
        )

    async def get(self, project: str, id: str) -> Document:
        """Return a conversation as it is stored; ConversationNotFound."""
        conversation = await self._store.get(Key(project, CONVERSATIONS, id))
        if conversation is None:
            raise ConversationNotFound(id)
        return conversation

    async def settled(self, project: str, id: str) -> Document:
        """Return a conversation whose items can be read; ConversationNotFound."""
        return await settled(self._store, await self.get(project, id))

    async def unlocked(self, project: str, id: str) -> Document:
        """Return a conversation whose items can be changed; ConversationLocked, ConversationNotFound."""
        conversation = await self.settled(project, id)
        check_unlocked(conversation)
        return conversation

    async def delete(self, conversation: Document) -> None:
        """Delete a conversation with its items; VersionConflict if it was changed meanwhile."""
        await self._deletion.delete(conversation)
