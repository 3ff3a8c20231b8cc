"""Lists of several buckets, with buckets of ten documents."""

import asyncio
import time

import pytest

from persistence.cassandra import CassandraStore, commits, list_heads
from persistence.errors import AlreadyExists
from persistence.store import Clear, Delete, Insert, Key, Replace
from tests.contract.samples import List

pytestmark = pytest.mark.cassandra


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Of documents with a home of their own, and of those that are kept with their parent."""
    if "messages" in metafunc.fixturenames:
        metafunc.parametrize("messages", ["", "thread_1/"], indirect=True, ids=["apart", "beside"])


@pytest.fixture
def apart(store: CassandraStore, project: str) -> List:
    """Documents that are made in two steps: they enter their list, and get a home."""
    return List(store, project, "messages", "thread_1")


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_heads, "ROWS", 10)
    monkeypatch.setattr(commits, "MAX_COMBINED", 5)


async def fill(messages: List, count: int, first: int = 0, **fields: object) -> list[str]:
    ids = [f"msg_{number:03d}" for number in range(first, first + count)]
    for id in ids:
        await messages.add(id, **fields)
    return ids


async def bucket_sizes(messages: List, store: CassandraStore) -> list[int]:
    sizes = []
    for bucket in range(20):
        rows = await store.connection.run(
            "SELECT id FROM objects WHERE project=? AND home=? AND bucket=? AND section=? AND label=''",
            (messages.project, messages.parent, bucket, "l:messages"),
        )
        sizes.append(len(rows))
    while sizes and sizes[-1] == 0:
        sizes.pop()
    return sizes


async def test_a_long_list_lies_in_bounded_partitions_and_reads_as_one(
    messages: List, store: CassandraStore, other: CassandraStore
) -> None:
    ids = await fill(messages, 45)
    assert await bucket_sizes(messages, store) == [10, 10, 10, 10, 5]
    for reader in (messages, List(other, messages.project, "messages", "thread_1", messages.prefix)):
        assert await reader.walk(order="asc", limit=7) == ids
        assert await reader.walk(order="desc", limit=7) == ids[::-1]
        assert await reader.ids(order="asc", limit=100) == ids
        assert await reader.ids(before=ids[20], limit=15, order="asc") == ids[5:20]
        assert await reader.ids(after=ids[20], before=ids[33], limit=50, order="asc") == ids[21:33]
        assert not (await reader.page(after=ids[0])).has_more


async def test_another_process_goes_on_with_the_newest_bucket(messages: List, other: CassandraStore) -> None:
    ids = await fill(messages, 25)
    elsewhere = List(other, messages.project, "messages", "thread_1", messages.prefix)
    ids += await fill(elsewhere, 20, 25)
    ids += await fill(messages, 20, 45)
    assert await messages.walk(order="asc", limit=100) == ids


async def test_many_writers_of_two_processes_cross_buckets_without_loss(
    messages: List, store: CassandraStore, other: CassandraStore
) -> None:
    elsewhere = List(other, messages.project, "messages", "thread_1", messages.prefix)
    names = [(list, f"{n}_{m}") for n, list in enumerate((messages, elsewhere)) for m in range(30)]
    await asyncio.gather(*(list.add(name) for list, name in names))
    kept = await messages.walk(order="asc", limit=7)
    assert sorted(kept) == sorted(name for _, name in names)
    assert await elsewhere.walk(limit=9) == kept[::-1]
    assert max(await bucket_sizes(messages, store)) <= 30  # each knows of its own documents alone


async def test_writers_of_a_process_that_does_not_know_the_list_count_each_others_documents(
    messages: List, store: CassandraStore, other: CassandraStore
) -> None:
    await messages.add("first")
    await List(other, messages.project, "messages", "thread_2").add("warms the connection up")
    elsewhere = List(other, messages.project, "messages", "thread_1", messages.prefix)
    await asyncio.gather(*(elsewhere.add(f"msg_{number:03d}") for number in range(30)))
    assert len(await messages.walk(limit=20)) == 31
    assert max(await bucket_sizes(messages, store)) <= 15  # ten, and what is combined into one transaction


async def test_a_page_by_label_reads_only_buckets_with_that_label(
    messages: List, store: CassandraStore
) -> None:
    for number in range(60):
        rare = frozenset({"rare"}) if number in (3, 44) else frozenset()
        await messages.add(f"msg_{number:03d}", labels=frozenset({"all"}) | rare)
    assert await messages.ids(label="rare") == ["msg_044", "msg_003"]
    assert await messages.ids(label="rare", order="asc") == ["msg_003", "msg_044"]
    assert await messages.walk(label="all", limit=7, order="asc") == [f"msg_{n:03d}" for n in range(60)]
    sent = store.connection.sent
    await messages.ids(label="rare")
    assert store.connection.sent - sent <= 8


async def test_a_document_too_big_to_copy_is_still_listed_by_its_label(messages: List) -> None:
    value = {"text": "x" * 50_000}
    for id in ("msg_1", "msg_2"):
        insert = Insert(messages.key(id), value, parent="thread_1", labels=frozenset({"a", "b", "c"}))
        await messages.store.write(insert)
    page = await messages.page(label="b")
    assert [(messages.name(document), document.value) for document in page.documents] == [
        ("msg_2", value),
        ("msg_1", value),
    ]


async def test_an_import_takes_its_place_in_an_older_bucket(messages: List) -> None:
    ids = await fill(messages, 35)
    middle = await messages.get(ids[14])
    assert middle is not None
    imported = await messages.add("imported", position=middle.position + 1)
    assert imported.position == middle.position + 1
    assert await messages.walk(order="asc", limit=8) == [*ids[:15], "imported", *ids[15:]]
    again = await messages.add("again", position=middle.position)
    assert again.position == middle.position + 2


async def test_changes_reach_the_copies_in_older_buckets(messages: List) -> None:
    ids = await fill(messages, 25)
    old = await messages.get(ids[2])
    assert old is not None
    await messages.store.write(Replace(old, value={"changed": True}, labels=frozenset({"new"})))
    [listed] = (await messages.page(after=ids[1], order="asc", limit=1)).documents
    assert listed.value == {"changed": True}
    assert await messages.ids(label="new") == [ids[2]]
    [listed] = (await messages.page(label="new")).documents
    await messages.store.write(Delete(listed))
    assert await messages.walk(order="asc", limit=100) == [id for id in ids if id != ids[2]]
    assert await messages.ids(label="new") == []


async def test_clearing_a_long_list_leaves_nothing_and_it_can_be_filled_again(
    messages: List, store: CassandraStore, other: CassandraStore
) -> None:
    await fill(messages, 35, labels=frozenset({"a"}))
    last = (await messages.page(limit=1)).documents[0].position
    elsewhere = List(other, messages.project, "messages", "thread_1", messages.prefix)
    await elsewhere.ids()
    await elsewhere.store.write(Clear(messages.project, "messages", "thread_1"))
    assert await messages.ids() == await messages.ids(label="a") == []
    assert await messages.get("msg_020") is None
    ids = await fill(messages, 15)
    assert await elsewhere.walk(order="asc", limit=4) == ids
    assert (await messages.page(order="asc", limit=1)).documents[0].position > last


async def test_a_writer_whose_clock_is_behind_adds_behind_what_is_there(
    messages: List, other: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = List(other, messages.project, "messages", "thread_1", messages.prefix)
    now = time.time_ns
    ids = []
    for number in range(24):
        skew = 2_000_000_000 if number % 2 else 0
        monkeypatch.setattr(time, "time_ns", lambda skew=skew: now() - skew)
        list = elsewhere if number % 2 else messages
        ids.append(list.name(await list.add(f"msg_{number:03d}")))
    assert await messages.walk(order="asc", limit=100) == ids


async def test_an_insert_that_a_dead_writer_left_half_done_is_completed(
    apart: List, store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It entered its list and got no row of its own; the same insert, done again, makes it whole."""
    messages = apart
    document = await messages.add("msg_1")
    await store.connection.compare_and_set(
        [
            (
                (
                    "DELETE FROM objects WHERE project=? AND home='msg_1' AND bucket=0 AND section='d:messages' "
                    "AND label='' AND position=0 IF EXISTS"
                ),
                (messages.project,),
            )
        ]
    )
    with pytest.raises(AlreadyExists):
        await messages.add("msg_1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    other = Insert(Key(messages.project, "messages", "msg_2"), {}, parent="thread_1")
    again, second = await store.write(messages.insert("msg_1", state={"again": True}), other)
    assert again.position == document.position
    assert second.id == "msg_2"
    assert await messages.ids(order="asc") == ["msg_1", "msg_2"]
    assert await messages.get("msg_1") == again == (await messages.page(order="asc")).documents[0]
    with pytest.raises(AlreadyExists):
        await messages.add("msg_1")
