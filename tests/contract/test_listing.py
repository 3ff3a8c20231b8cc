"""A whole list is read by pages, each document once, whatever is deleted meanwhile."""

import pytest

from persistence.listing import pages
from persistence.store import Delete, Insert, Key, Order, Store


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_whose_last_document_is_deleted_ends_nothing(
    store: Store, project: str, order: Order
) -> None:
    documents = [
        (await store.write(Insert(Key(project, "messages", f"m{number}"), {"n": number}, parent="t")))[0]
        for number in range(10)
    ]
    expected = list(range(10)) if order == "asc" else list(range(9, -1, -1))
    found: list[int] = []
    async for page in pages(store, project, "messages", "t", limit=3, order=order):
        found += [document.value["n"] for document in page]
        if len(found) == 6:
            await store.write(Delete(documents[found[-1]]))
    assert found == expected


async def test_reading_begins_behind_a_document(store: Store, project: str) -> None:
    documents = [
        (await store.write(Insert(Key(project, "messages", f"m{number}"), {"n": number}, parent="t")))[0]
        for number in range(5)
    ]
    read = [page async for page in pages(store, project, "messages", "t", after=documents[1], limit=2)]
    assert [[document.value["n"] for document in page] for page in read] == [[2, 3], [4]]
