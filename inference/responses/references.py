"""Finds the items that references name."""

from inference.responses.conversations import item_key
from inference.responses.errors import ItemNotFound
from inference.responses.items import item_owner
from inference.responses.state import INPUT
from persistence.collections import RESPONSES
from persistence.store import Key, Store
from persistence.types import JSON


async def referenced_item(store: Store, project: str, id: str) -> JSON:
    """Return the item of that id, from the response or conversation that its id names; ItemNotFound."""
    kind, owner = item_owner(id) or ("", "")
    if kind == "response":
        response = await store.get(Key(project, RESPONSES, owner))
        if response is not None:
            items = [*response.state["extra"][INPUT], *response.value["output"]]
            for item in items:
                if item["id"] == id:
                    return dict(item)
    if kind == "conversation":
        document = await store.get(item_key(project, owner, id))
        if document is not None:
            return document.value
    raise ItemNotFound(id)
