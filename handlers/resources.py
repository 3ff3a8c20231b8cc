"""Find, update and delete the caller's objects."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from handlers.context import Context
from handlers.errors import BadRequest, NotFound
from inference.errors import ModelNotFound
from persistence.collections import ASSISTANTS, FILES, RUNS, THREADS
from persistence.retry import retry_on_conflict
from persistence.store import Delete, Document, Key, Replace, child_id
from persistence.types import JSON

Find = Callable[[], Awaitable[Document]]
"""Reads the object; raises NotFound if it does not exist."""

Change = Callable[[Document], Replace | None]
"""Returns the change of an object; None to leave it as it is."""


async def _find(context: Context, collection: str, id: str, noun: str, parent: str | None = None) -> Document:
    """Return one of the caller's objects, of that parent if one is given; raise NotFound without it."""
    document = await context.services.store.get(Key(context.project, collection, id))
    if document is None or (parent is not None and document.parent != parent):
        raise NotFound(f"No {noun} found with id '{id}'.")
    return document


async def find_child(context: Context, collection: str, parent: str, id: str, noun: str) -> Document:
    """Return one of the caller's objects that is stored with its parent; raise NotFound without it."""
    document = await context.services.store.get(Key(context.project, collection, child_id(parent, id)))
    if document is None:
        raise NotFound(f"No {noun} found with id '{id}'.")
    return document


async def find_assistant(context: Context, id: str) -> Document:
    """Return the assistant."""
    return await _find(context, ASSISTANTS, id, "assistant")


async def find_thread(context: Context, id: str) -> Document:
    """Return the thread."""
    return await _find(context, THREADS, id, "thread")


async def find_run(context: Context, thread_id: str, id: str) -> Document:
    """Return the run of that thread."""
    return await _find(context, RUNS, id, "run", thread_id)


async def find_file(context: Context, id: str, param: str) -> Document:
    """Return the file; `param` is the field that names it."""
    document = await context.services.store.get(Key(context.project, FILES, id))
    if document is None:
        raise NotFound(f"No such File object: {id}", param=param)
    return document


async def update_object(context: Context, find: Find, change: Change) -> Document:
    """Change an object; try again if another request changed it meanwhile."""

    async def attempt() -> Document:
        document = await find()
        replace = change(document)
        return document if replace is None else (await context.services.store.write(replace))[0]

    return await retry_on_conflict(attempt)


async def update_metadata(context: Context, find: Find, body: JSON) -> JSON:
    """Set an object's metadata if the body has them; return the object."""

    def change(document: Document) -> Replace | None:
        check_fixed(context, document.value, body, {"metadata"})
        if "metadata" not in body:
            return None
        return Replace(document, value={**document.value, "metadata": body["metadata"] or {}})

    return (await update_object(context, find, change)).value


async def delete_object(context: Context, find: Find) -> None:
    """Delete an object; try again if another request changed it meanwhile."""

    async def attempt() -> None:
        await context.services.store.write(Delete(await find()))

    await retry_on_conflict(attempt)


def check_model(context: Context, model: str, param: str = "model") -> None:
    """Raise the service's 400 for a model that no route knows."""
    try:
        context.services.gateway.check_model(model)
    except ModelNotFound as exc:
        message = f"The requested model '{model}' does not exist. {exc.hint}".strip()
        raise BadRequest(message, param=param, code="model_not_found") from exc


def check_fixed(context: Context, value: JSON, body: JSON, changeable: Collection[str]) -> None:
    """Refuse other values of fields that are fixed when an object is created.

    An update may repeat them, as a dumped object does; to ignore a new value would look like success.
    """
    if context.assistants_v1:  # its objects are made of others
        return
    for name in sorted(body.keys() - set(changeable)):
        if _significant(body[name]) != _significant(value.get(name)):
            raise BadRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def _significant(value: Any) -> Any:
    """Return the value without the nulls and empty members that SDKs add to an object."""
    if isinstance(value, dict):
        members = {name: _significant(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not None} or None
    if isinstance(value, list):
        return [_significant(member) for member in value] or None
    return value
