"""Conversations and their items: create, retrieve, update, delete, list."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Unpack

from handlers.context import Context
from handlers.errors import BadRequest, NotFound
from handlers.item_contents import check_files_and_images
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import update_metadata
from handlers.response_images import shows_images
from inference.identifiers import new_id
from inference.responses.conversations import conversation_object, item_inserts, item_key
from inference.responses.items import REFERENCE, TRIGGER, conversation_item_id, shown, stored_items_in_slices
from inference.responses.references import referenced_item
from persistence.collections import CONVERSATION_ITEMS, CONVERSATIONS
from persistence.errors import AlreadyExists
from persistence.retry import retry_from, retry_on_conflict
from persistence.store import Check, Delete, Document, Insert, Key, Order, child_id
from persistence.types import JSON


@operation("createConversation")
async def create_conversation(context: Context, body: JSON | None = None) -> JSON:
    """Create a conversation with its first items."""
    body = body or {}
    id = new_id("conv_")
    items = await _checked_items(context, id, body.get("items") or [])
    value = conversation_object(id, now=int(time.time()), metadata=body.get("metadata"))
    conversation = Insert(Key(context.project, CONVERSATIONS, id), value)
    await context.services.store.write(conversation, *item_inserts(context.project, id, items))
    return value


@operation("getConversation")
async def get_conversation(context: Context, conversation_id: str) -> JSON:
    """Return the conversation."""
    return (await context.services.conversations.get(context.project, conversation_id)).value


@operation("updateConversation")
async def update_conversation(context: Context, conversation_id: str, body: JSON) -> JSON:
    """Change the metadata, also while a response runs."""
    find = partial(context.services.conversations.get, context.project, conversation_id)
    return await update_metadata(context, find, body)


@operation("deleteConversation")
async def delete_conversation(context: Context, conversation_id: str) -> JSON:
    """Delete the conversation with its items, also while a response runs."""
    conversations = context.services.conversations

    async def attempt() -> None:
        await conversations.delete(await conversations.get(context.project, conversation_id))

    await retry_on_conflict(attempt)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@operation("listConversations")
async def list_conversations(context: Context, **page: Unpack[PageQuery]) -> JSON:
    """Return a page of the project's conversations; OpenAI has no such operation."""
    return list_page(await read_page(context, CONVERSATIONS, **page))


# --- items ---


@operation("createConversationItems")
@shows_images
async def create_conversation_items(
    context: Context, conversation_id: str, body: JSON, include: Sequence[str] = ()
) -> JSON:
    """Append items to a conversation on which no response runs."""
    unlocked = await _unlocked(context, conversation_id)
    items = await _checked_items(context, conversation_id, body["items"])
    inserts = item_inserts(context.project, conversation_id, items)

    async def attempt(conversation: Document) -> None:
        await context.services.store.write(Check(conversation), *inserts)

    try:
        await retry_from(unlocked, partial(_unlocked, context, conversation_id), attempt)
    except AlreadyExists as exc:
        raise await _duplicate(context, conversation_id, inserts) from exc
    data = [shown(item, include) for item in items]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False}


@operation("listConversationItems")
@shows_images
async def list_conversation_items(
    context: Context,
    conversation_id: str,
    limit: int,
    order: Order = "desc",
    after: str | None = None,
    include: Sequence[str] = (),
) -> JSON:
    """Return a page of the conversation's items."""
    await context.services.conversations.settled(context.project, conversation_id)
    found = await read_page(
        context,
        CONVERSATION_ITEMS,
        conversation_id,
        to_id=partial(child_id, conversation_id),
        limit=limit,
        order=order,
        after=after,
    )
    return list_page(found, lambda item: shown(item.value, include))


@operation("getConversationItem")
@shows_images
async def get_conversation_item(
    context: Context, conversation_id: str, item_id: str, include: Sequence[str] = ()
) -> JSON:
    """Return the item."""
    await context.services.conversations.settled(context.project, conversation_id)
    return shown((await _find_item(context, conversation_id, item_id)).value, include)


@operation("deleteConversationItem")
async def delete_conversation_item(context: Context, conversation_id: str, item_id: str) -> JSON:
    """Delete an item of a conversation on which no response runs; answer the conversation."""

    async def attempt() -> JSON:
        conversation = await _unlocked(context, conversation_id)
        item = await _find_item(context, conversation_id, item_id)
        await context.services.store.write(Check(conversation), Delete(item))
        return conversation.value

    return await retry_on_conflict(attempt)


async def _unlocked(context: Context, id: str) -> Document:
    return await context.services.conversations.unlocked(context.project, id)


async def _find_item(context: Context, conversation_id: str, id: str) -> Document:
    item = await context.services.store.get(item_key(context.project, conversation_id, id))
    if item is None:
        raise NotFound(f"Item with id '{id}' not found in conversation '{conversation_id}'.")
    return item


async def _checked_items(context: Context, conversation_id: str, given: list[JSON]) -> list[JSON]:
    """Return items in stored form; refuse what is no item, and files that the project does not have."""
    items = await stored_items_in_slices(given, partial(conversation_item_id, owner=conversation_id), "items")
    await check_files_and_images(context, items, "items")
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item["type"] == TRIGGER:
            message = f"Items of the type '{TRIGGER}' cannot be stored in a conversation."
            raise BadRequest(message, param=f"items[{index}].type", code="invalid_value")
        if item["id"] in seen:
            raise _taken(item["id"], conversation_id, index)
        seen.add(item["id"])
        if item["type"] == REFERENCE:
            items[index] = await referenced_item(context.services.store, context.project, item["id"])
    return items


async def _duplicate(context: Context, conversation_id: str, inserts: list[Insert]) -> BadRequest:
    """Return the error for items of which one exists already."""
    found = [await context.services.store.get(insert.key) for insert in inserts]
    index = next((index for index, document in enumerate(found) if document is not None), 0)
    return _taken(inserts[index].value["id"], conversation_id, index)


def _taken(id: str, conversation_id: str, index: int) -> BadRequest:
    message = f"Item with id '{id}' already exists in conversation '{conversation_id}'."
    return BadRequest(message, param=f"items[{index}].id", code="duplicate_item_id")
