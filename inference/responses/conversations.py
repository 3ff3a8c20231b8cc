"""Conversations: their objects and items, and the response that holds one while it runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from inference.deletion import Deletion
from inference.engine.state import ACTIVE_RUN, FENCE
from inference.engine.statuses import ENDED
from inference.identifiers import LENGTH, new_id
from inference.jobs import Jobs
from inference.responses.errors import ConversationLocked, ConversationNotFound
from inference.responses.objects import conversation_items
from inference.responses.state import INPUT
from persistence.collections import CONVERSATION_ITEMS, CONVERSATIONS, RESPONSES
from persistence.errors import AlreadyExists, VersionConflict
from persistence.retry import retry_on_conflict
from persistence.store import Document, Insert, Key, Replace, Store, child_id
from persistence.types import JSON

PAGE = 100

CONVERSATION_DELETION = "conversation_deletion"
"""The kind of the jobs that delete the items of conversations."""


def conversation_object(id: str, *, now: int, metadata: JSON | None = None) -> JSON:
    """Return a conversation without items."""
    return {"id": id, "object": "conversation", "created_at": now, "metadata": metadata or {}}


def make_item_id(conversation_id: str) -> Callable[[str], str]:
    """Return what makes the ids of a conversation's new items from their prefixes."""
    return lambda prefix: f"{prefix}{conversation_id[-LENGTH:]}{new_id('')[:8]}"


def item_key(project: str, conversation_id: str, item_id: str) -> Key:
    """Return the key of a conversation's item."""
    return Key(project, CONVERSATION_ITEMS, child_id(conversation_id, item_id))


def item_inserts(project: str, conversation_id: str, items: Sequence[JSON]) -> list[Insert]:
    """Return the writes that append items, which are in stored form and have their ids."""
    return [
        Insert(item_key(project, conversation_id, item["id"]), item, parent=conversation_id) for item in items
    ]


async def newest_items(store: Store, conversation: Document, until: str | None = None) -> AsyncIterator[JSON]:
    """Yield a conversation's items in stored form, the newest first; read by pages, as far as asked.

    With `until`, begin with the item of that id, if it still exists.
    """
    project, id = conversation.key.project, conversation.id
    after: str | None = None
    last = await store.get(item_key(project, id, until)) if until is not None else None
    if last is not None:
        yield last.value
        after = last.id
    while True:
        page = await store.page(project, CONVERSATION_ITEMS, id, after=after, limit=PAGE, order="desc")
        for document in page.documents:
            yield document.value
        if not page.has_more:
            return
        after = page.documents[-1].id


def ended_items(response: Document) -> list[JSON]:
    """Return the items that a response which has ended adds to its conversation, each id once."""
    return conversation_items(response.value, response.state["extra"][INPUT])


async def settled(store: Store, conversation: Document) -> Document:
    """Return the conversation with all that a response which has ended has to add; ConversationNotFound.

    Where a response's end and its items are two transactions, a crash can leave the second undone. The
    returned state names an active run only if a response really runs. Costs a read only where it names one.
    """
    if ACTIVE_RUN not in conversation.state:
        return conversation
    known: Document | None = conversation

    async def attempt() -> Document:
        nonlocal known
        document, known = known or await store.get(conversation.key), None
        if document is None:
            raise ConversationNotFound(conversation.id)
        return await _settle(store, document)

    return await retry_on_conflict(attempt, (VersionConflict, AlreadyExists))


async def _settle(store: Store, conversation: Document) -> Document:
    response_id = conversation.state.get(ACTIVE_RUN)
    if response_id is None:
        return conversation
    project = conversation.key.project
    response = await store.get(Key(project, RESPONSES, response_id))
    free = {name: value for name, value in conversation.state.items() if name not in (ACTIVE_RUN, FENCE)}
    if response is None:  # deleted, or not written yet: it may still need the version that it knows
        return replace(conversation, state=free)
    if response.value["status"] not in ENDED:
        return conversation
    inserts = item_inserts(project, conversation.id, ended_items(response))
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
        self._deletion = Deletion(store, jobs, CONVERSATION_DELETION, (CONVERSATION_ITEMS,))

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
