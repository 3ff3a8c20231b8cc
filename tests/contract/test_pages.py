import asyncio
import time

import pytest

from persistence.errors import CursorNotFound
from persistence.store import Delete, Replace
from tests.contract.samples import List, without


async def test_a_list_is_newest_first_by_default(messages: List) -> None:
    ids = await messages.fill(5)
    assert await messages.ids() == ids[::-1]
    assert await messages.ids(order="asc") == ids


async def test_order_is_that_of_creation_within_the_same_millisecond(messages: List) -> None:
    ids = [f"msg_{number * 7919 % 200:03d}" for number in range(200)]
    await messages.store.write(*(messages.insert(id) for id in ids))
    assert await messages.ids(order="asc", limit=200) == ids


async def test_positions_of_a_list_grow_strictly(messages: List) -> None:
    documents = await asyncio.gather(*(messages.add(f"msg_{number}") for number in range(50)))
    positions = [document.position for document in documents]
    assert len(set(positions)) == 50
    by_position = sorted(documents, key=lambda document: document.position)
    assert await messages.ids(order="asc", limit=100) == [messages.name(document) for document in by_position]


async def test_a_new_document_is_the_last_even_when_the_clock_is_behind_the_list(messages: List) -> None:
    ahead = int((time.time() + 3600) * 1_000_000)
    await messages.add("msg_ahead", position=ahead)
    added = [await messages.add(f"msg_{number}") for number in range(3)]
    assert all(document.position > ahead for document in added)
    assert await messages.ids(order="asc") == ["msg_ahead", "msg_0", "msg_1", "msg_2"]


async def test_an_import_takes_the_place_it_brings(messages: List) -> None:
    await messages.add("msg_now")
    for id, position in (("msg_b", 2_000), ("msg_a", 1_000), ("msg_c", 3_000)):
        document = await messages.add(id, position=position)
        assert document.position == position
    assert await messages.ids(order="asc") == ["msg_a", "msg_b", "msg_c", "msg_now"]


async def test_imports_of_the_same_time_keep_the_order_they_came_in(messages: List) -> None:
    ids = [f"msg_{number}" for number in "zyxabc"]
    for id in ids:
        await messages.add(id, position=5_000_000)
    assert await messages.ids(order="asc") == ids
    documents = (await messages.page(order="asc")).documents
    assert [document.position for document in documents] == list(range(5_000_000, 5_000_006))


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
async def test_following_after_meets_each_document_once(messages: List, order: str, limit: int) -> None:
    ids = await messages.fill(12)
    assert await messages.walk(order=order, limit=limit) == (ids if order == "asc" else ids[::-1])


async def test_has_more_is_true_until_the_last_page(messages: List) -> None:
    ids = await messages.fill(6)
    assert (await messages.page(limit=5)).has_more
    assert not (await messages.page(limit=6)).has_more
    assert (await messages.page(limit=3, after=ids[4])).has_more
    assert not (await messages.page(limit=4, after=ids[4])).has_more


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_ends_before_it_has_too_many_bytes(messages: List, order: str) -> None:
    ids = [f"msg_{number:03d}" for number in range(12)]
    for id in ids:
        await messages.add(id, state={"text": "x" * 1_500_000})
    ids = ids if order == "asc" else ids[::-1]
    page = await messages.page(limit=100, order=order)
    assert [messages.name(document) for document in page.documents] == ids[:5]
    assert page.has_more
    assert await messages.walk(limit=100, order=order) == ids
    page = await messages.page(before=ids[10], limit=100, order=order)
    assert [messages.name(document) for document in page.documents] == ids[5:10]
    assert page.has_more


async def test_after_the_last_document_is_an_empty_page(messages: List) -> None:
    ids = await messages.fill(3)
    page = await messages.page(after=ids[0])
    assert (page.documents, page.has_more) == ([], False)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_before_alone_is_the_page_that_ends_just_there(messages: List, order: str) -> None:
    ids = await messages.fill(10)
    if order == "desc":
        ids.reverse()
    assert await messages.ids(before=ids[7], limit=3, order=order) == ids[4:7]
    assert (await messages.page(before=ids[7], limit=3, order=order)).has_more
    page = await messages.page(before=ids[3], limit=3, order=order)
    assert ([messages.name(document) for document in page.documents], page.has_more) == (ids[:3], False)
    assert await messages.ids(before=ids[0], order=order) == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_after_and_before_together_bound_the_page_on_both_sides(messages: List, order: str) -> None:
    ids = await messages.fill(10)
    if order == "desc":
        ids.reverse()
    assert await messages.ids(after=ids[2], before=ids[6], order=order) == ids[3:6]
    page = await messages.page(after=ids[2], before=ids[6], limit=2, order=order)
    assert ([messages.name(document) for document in page.documents], page.has_more) == (ids[3:5], True)
    assert await messages.ids(after=ids[6], before=ids[2], order=order) == []


@pytest.mark.parametrize("cursor", ["after", "before"])
@pytest.mark.parametrize("id", ["msg_none", "", "../..", "'", "\ud800"])
async def test_a_cursor_that_nothing_has_is_not_found(messages: List, cursor: str, id: str) -> None:
    await messages.fill(3)
    with pytest.raises(CursorNotFound):
        await messages.page(**{cursor: id})


@pytest.mark.parametrize("cursor", ["after", "before"])
async def test_a_cursor_into_a_list_that_never_had_a_document_is_not_found(
    messages: List, cursor: str
) -> None:
    with pytest.raises(CursorNotFound):
        await messages.page(**{cursor: "msg_1"})


@pytest.mark.parametrize("cursor", ["after", "before"])
async def test_a_cursor_of_another_parent_project_or_collection_is_not_found(
    messages: List, cursor: str
) -> None:
    await messages.fill(3)
    others = [
        List(messages.store, messages.project, "messages", "thread_2"),
        List(messages.store, f"{messages.project}x", "messages", "thread_1", messages.prefix),
        List(messages.store, messages.project, "runs", "thread_1"),
    ]
    for number, other in enumerate(others):
        await other.add(f"other_{number}")
        with pytest.raises(CursorNotFound):
            await messages.page(**{cursor: f"other_{number}"})
        with pytest.raises(CursorNotFound):
            await other.page(**{cursor: "msg_001"})


async def test_a_cursor_that_was_deleted_is_not_found(messages: List) -> None:
    ids = await messages.fill(3)
    document = await messages.get(ids[1])
    assert document is not None
    await messages.store.write(Delete(document))
    with pytest.raises(CursorNotFound):
        await messages.page(after=ids[1])
    assert await messages.ids(order="asc") == without(ids, ids[1])


async def test_lists_of_different_parents_do_not_mix(messages: List) -> None:
    other = List(messages.store, messages.project, "messages", "thread_2")
    none = List(messages.store, messages.project, "messages", "")
    for number in range(4):
        for list in (messages, other, none):
            await list.add(f"{list.parent or 'none'}_{number}")
    for list in (messages, other, none):
        assert await list.walk(order="asc", limit=3) == [f"{list.parent or 'none'}_{n}" for n in range(4)]


async def test_a_label_makes_a_list_of_those_that_have_it(messages: List) -> None:
    labels = {"a": {"x"}, "b": {"y"}, "c": {"x", "y"}, "d": set(), "e": {"x:'%_"}}
    for id, names in labels.items():
        await messages.add(id, labels=frozenset(names))
    assert await messages.ids(label="x", order="asc") == ["a", "c"]
    assert await messages.ids(label="y") == ["c", "b"]
    assert await messages.ids(label="x:'%_") == ["e"]
    assert await messages.ids(label="none") == []
    assert await messages.ids(order="asc") == ["a", "b", "c", "d", "e"]


async def test_a_label_list_is_paged_like_any_other(messages: List) -> None:
    for number in range(10):
        await messages.add(f"msg_{number}", labels=frozenset({"even" if number % 2 == 0 else "odd"}))
    assert await messages.walk(label="even", order="asc", limit=2) == [f"msg_{n}" for n in (0, 2, 4, 6, 8)]
    assert await messages.ids(label="odd", after="msg_4", order="asc") == ["msg_5", "msg_7", "msg_9"]
    assert await messages.ids(label="odd", before="msg_9", limit=2, order="asc") == ["msg_5", "msg_7"]


async def test_a_document_leaves_and_enters_lists_as_its_labels_change(messages: List) -> None:
    document = await messages.add("msg_1", labels=frozenset({"queued", "kept"}))
    [document] = await messages.store.write(Replace(document, labels=frozenset({"done", "kept"})))
    assert await messages.ids(label="queued") == []
    assert await messages.ids(label="done") == await messages.ids(label="kept") == ["msg_1"]
    await messages.store.write(Delete(document))
    assert await messages.ids(label="done") == await messages.ids(label="kept") == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_paging_while_others_insert_shows_what_was_there_once_and_in_order(
    messages: List, order: str
) -> None:
    ids = await messages.fill(30)
    seen: list[str] = []
    while len(seen) < 30:
        seen += await messages.ids(after=seen[-1] if seen else None, order=order, limit=7)
        await messages.add(f"new_{len(seen)}")
    assert seen[:30] == (ids if order == "asc" else ids[::-1])


async def test_following_a_growing_list_upwards_misses_nothing(messages: List) -> None:
    await messages.add("first")
    writers = [asyncio.create_task(fill(messages, f"writer{number}", 25)) for number in range(4)]
    seen = ["first"]
    while not all(task.done() for task in writers):
        seen += await messages.ids(after=seen[-1], order="asc", limit=5)
        await asyncio.sleep(0)
    seen += await messages.walk(seen[-1], order="asc")
    assert seen == await messages.walk(order="asc", limit=100)
    assert len(seen) == 101


async def fill(messages: List, name: str, count: int) -> None:
    for number in range(count):
        await messages.add(f"{name}_{number}")
