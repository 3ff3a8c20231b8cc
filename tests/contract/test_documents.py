import asyncio
import time
from dataclasses import replace

import pytest

from persistence.documents import MAX_DOCUMENT_BYTES
from persistence.errors import AlreadyExists, DocumentTooLarge, VersionConflict
from persistence.retry import update_with_retry
from persistence.store import (
    Check,
    Clear,
    Delete,
    Document,
    Insert,
    Key,
    Replace,
    Store,
)
from tests.contract.samples import List


async def test_an_inserted_document_comes_back_as_it_was_given(messages: List) -> None:
    value = {
        "id": "msg_1",
        "text": "Grüße, 世界 👋, a NUL \u0000, a quote ' and a backslash \\",
        "numbers": [0, -1, 2**53, 0.1, 1e300],
        "nested": {"null": None, "true": True, "": []},
    }
    operation = Insert(
        messages.key("msg_1"), value, {"secret": "kept beside"}, "thread_1", frozenset({"a:b"})
    )
    [written] = await messages.store.write(operation)
    read = await messages.get("msg_1")
    assert read == written
    assert read is not None
    assert (read.value, read.state) == (value, {"secret": "kept beside"})
    assert (read.parent, read.labels, read.version) == ("thread_1", frozenset({"a:b"}), 1)


async def test_a_position_is_the_time_in_microseconds(messages: List) -> None:
    before = time.time()
    document = await messages.add("msg_1")
    assert before - 5 <= document.position / 1_000_000 <= time.time() + 5


@pytest.mark.parametrize(
    "id", ["msg_none", "", "../../etc/passwd", "msg'1", "msg\u0000", "\ud800", "x" * 5000]
)
async def test_an_id_that_nothing_has_gives_none(messages: List, id: str) -> None:
    await messages.add("msg_1")
    assert await messages.get(id) is None


@pytest.mark.parametrize("id", ["../../etc/passwd", "msg'; DROP TABLE documents; --", "msg\u0000tail", "é世"])
async def test_an_id_is_data(messages: List, id: str) -> None:
    await messages.add(id)
    document = await messages.get(id)
    assert document is not None
    assert messages.name(document) == id
    assert await messages.ids() == [id]


async def test_an_id_that_is_taken_is_refused_and_the_first_object_stays(messages: List) -> None:
    first = await messages.add("msg_1")
    with pytest.raises(AlreadyExists):
        parent = messages.parent if messages.prefix else "thread_2"
        await messages.store.write(Insert(messages.key("msg_1"), {"other": True}, parent=parent))
    assert await messages.get("msg_1") == first


async def test_the_same_id_in_another_collection_is_another_object(store: Store, project: str) -> None:
    await store.write(
        Insert(Key(project, "threads", "x"), {"a": 1}), Insert(Key(project, "runs", "x"), {"a": 2})
    )
    documents = [await store.get(Key(project, name, "x")) for name in ("threads", "runs")]
    assert [document and document.value for document in documents] == [{"a": 1}, {"a": 2}]


async def test_a_value_that_is_no_json_is_refused_and_nothing_is_written(messages: List) -> None:
    bad = Insert(messages.key("msg_2"), {"text": "\ud800"}, parent="thread_1")
    with pytest.raises(ValueError):
        await messages.store.write(messages.insert("msg_1"), bad)
    assert await messages.ids() == []


async def test_a_document_of_one_megabyte_is_kept(messages: List) -> None:
    value = {"text": "ä" * 500_000}
    await messages.store.write(Insert(messages.key("msg_1"), value, parent="thread_1"))
    document = await messages.get("msg_1")
    assert document is not None
    assert document.value == value


async def test_replacing_changes_what_is_named_and_keeps_the_rest(messages: List) -> None:
    first = await messages.add("msg_1", state={"kept": 1}, labels=frozenset({"old"}))
    [second] = await messages.store.write(Replace(first, value={"id": "msg_1", "new": True}))
    assert second == replace(first, value={"id": "msg_1", "new": True}, version=2)
    [third] = await messages.store.write(Replace(second, state={"kept": 2}, labels=frozenset({"new"})))
    assert third == replace(second, state={"kept": 2}, labels=frozenset({"new"}), version=3)
    assert await messages.get("msg_1") == third


async def test_replacing_with_nothing_empties_state_and_labels(messages: List) -> None:
    first = await messages.add("msg_1", state={"kept": 1}, labels=frozenset({"old"}))
    await messages.store.write(Replace(first, state={}, labels=frozenset()))
    document = await messages.get("msg_1")
    assert document is not None
    assert (document.state, document.labels) == ({}, frozenset())


@pytest.mark.parametrize("operation", [Replace, Delete, Check])
async def test_a_document_that_changed_since_it_was_read_is_a_conflict(
    messages: List, operation: type[Replace | Delete | Check]
) -> None:
    stale = await messages.add("msg_1")
    [fresh] = await messages.store.write(Replace(stale, value={"id": "msg_1", "changed": True}))
    with pytest.raises(VersionConflict):
        await messages.store.write(operation(stale))
    assert await messages.get("msg_1") == fresh


@pytest.mark.parametrize("operation", [Replace, Delete, Check])
async def test_a_document_that_was_deleted_since_it_was_read_is_a_conflict(
    messages: List, operation: type[Replace | Delete | Check]
) -> None:
    document = await messages.add("msg_1")
    await messages.store.write(Delete(document))
    with pytest.raises(VersionConflict):
        await messages.store.write(operation(document))
    assert await messages.get("msg_1") is None


async def test_a_document_that_was_deleted_and_made_again_is_another(messages: List) -> None:
    first = await messages.add("msg_1")
    await messages.store.write(Delete(first))
    second = await messages.add("msg_1")
    with pytest.raises(VersionConflict):
        await messages.store.write(Delete(first))
    assert await messages.get("msg_1") == second


async def test_a_check_that_holds_lets_the_write_through(messages: List) -> None:
    document = await messages.add("msg_1")
    written = await messages.store.write(Check(document), messages.insert("msg_2"))
    assert [messages.name(document) for document in written] == ["msg_2"]
    assert await messages.get("msg_1") == document


async def test_clearing_empties_one_list_and_no_other(messages: List) -> None:
    other = List(messages.store, messages.project, "messages", "thread_2")
    await messages.fill(5)
    await other.add("msg_other", labels=frozenset({"kept"}))
    await messages.store.write(Clear(messages.project, "messages", "thread_1"))
    assert await messages.ids() == []
    assert await messages.get("msg_000") is None
    assert await other.ids(label="kept") == ["msg_other"]
    await messages.store.write(Clear(messages.project, "messages", "thread_1"))


async def test_a_long_list_is_cleared_slice_by_slice(messages: List) -> None:
    ids = await messages.fill(5)
    await messages.add("msg_kept", labels=frozenset({"kept"}))
    await messages.store.write(Clear(messages.project, "messages", "thread_1", limit=2))
    left = await messages.ids(order="asc")
    assert left == [*ids, "msg_kept"][6 - len(left) :], "the first ones go first"
    assert len(left) <= 4
    while left:
        await messages.store.write(Clear(messages.project, "messages", "thread_1", limit=2))
        left = await messages.ids(order="asc")
    assert await messages.ids(label="kept") == []


async def test_a_write_returns_the_documents_of_inserts_and_replaces_in_order(messages: List) -> None:
    first = await messages.add("msg_1")
    doomed = await messages.add("msg_2")
    written = await messages.store.write(
        Replace(first, value={"changed": True}), Delete(doomed), messages.insert("msg_3")
    )
    assert [messages.name(document) for document in written] == ["msg_1", "msg_3"]
    assert await messages.ids(order="asc") == ["msg_1", "msg_3"]


async def test_nothing_is_written_when_the_first_condition_fails(messages: List) -> None:
    stale = await messages.add("msg_1")
    await messages.store.write(Replace(stale, value={"changed": True}))
    with pytest.raises(VersionConflict):
        await messages.store.write(Replace(stale, value={}), messages.insert("msg_2"))
    assert await messages.ids() == ["msg_1"]


async def test_nothing_is_written_when_the_last_condition_fails(messages: List) -> None:
    stale = await messages.add("msg_1")
    other = await messages.add("msg_2")
    [fresh] = await messages.store.write(Replace(stale, value={"changed": True}))
    with pytest.raises(VersionConflict):
        await messages.store.write(
            messages.insert("msg_3"), Delete(other), Replace(stale, value={"lost": True})
        )
    assert await messages.ids(order="asc") == ["msg_1", "msg_2"]
    assert await messages.get("msg_1") == fresh
    assert await messages.get("msg_3") is None


async def test_one_write_that_fails_takes_none_of_its_neighbours_along(messages: List) -> None:
    await messages.add("msg_taken")
    ids = [f"msg_{number}" if number % 2 else "msg_taken" for number in range(40)]
    results = await asyncio.gather(*(messages.add(id) for id in ids), return_exceptions=True)
    for id, result in zip(ids, results, strict=True):
        assert isinstance(result, AlreadyExists if id == "msg_taken" else Document)
    assert set(await messages.walk(limit=10)) == set(ids)


async def test_of_many_inserts_of_one_id_exactly_one_succeeds(messages: List) -> None:
    results = await asyncio.gather(*(messages.add("msg_1") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, Document) for result in results) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 19


async def test_no_update_is_lost_among_fifty_at_once(messages: List) -> None:
    await messages.store.write(Insert(messages.key("msg_1"), {"count": 0}, parent="thread_1"))

    def increment(document: Document) -> Replace:
        return Replace(document, value={"count": document.value["count"] + 1})

    await asyncio.gather(
        *(update_with_retry(messages.store, messages.key("msg_1"), increment) for _ in range(50))
    )
    document = await messages.get("msg_1")
    assert document is not None
    assert (document.value, document.version) == ({"count": 50}, 51)


async def test_an_update_may_leave_the_document_as_it_is(messages: List) -> None:
    document = await messages.add("msg_1")
    assert await update_with_retry(messages.store, messages.key("msg_1"), lambda _: None) == document
    assert await update_with_retry(messages.store, messages.key("msg_none"), lambda _: None) is None


async def test_nothing_of_a_project_is_seen_from_another(messages: List) -> None:
    stranger = List(messages.store, f"{messages.project}x", "messages", "thread_1", messages.prefix)
    await messages.add("msg_1", labels=frozenset({"a"}))
    assert await stranger.get("msg_1") is None
    assert await stranger.ids() == []
    assert await stranger.ids(label="a") == []
    mine = await messages.get("msg_1")
    assert mine is not None
    theirs = replace(mine, key=stranger.key("msg_1"))
    for operation in (Replace(theirs, value={}), Delete(theirs), Check(theirs)):
        with pytest.raises(VersionConflict):
            await stranger.store.write(operation)
    await stranger.store.write(Clear(stranger.project, "messages", "thread_1"))
    assert await messages.get("msg_1") == mine
    await stranger.add("msg_1")
    assert await messages.ids() == ["msg_1"]
    assert await messages.get("msg_1") == mine


async def test_a_store_that_is_open_answers_a_ping(store: Store) -> None:
    await store.ping()


async def test_migrating_what_is_up_to_date_changes_nothing(messages: List) -> None:
    await messages.add("msg_1")
    await messages.store.migrate()
    assert await messages.ids() == ["msg_1"]


async def test_an_object_over_the_bound_is_refused_and_not_stored(messages: List) -> None:
    await messages.add("msg_1")
    document = await messages.get("msg_1")
    assert document is not None
    value = {"text": "x" * MAX_DOCUMENT_BYTES}
    for write in (Insert(messages.key("msg_2"), value, parent="thread_1"), Replace(document, state=value)):
        with pytest.raises(DocumentTooLarge):
            await messages.store.write(write)
    assert await messages.ids() == ["msg_1"]
    assert await messages.get("msg_1") == document
