import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from persistence import open_store
from persistence.move import Progress, compare, move
from persistence.store import (
    Append,
    Chunk,
    Enqueue,
    Insert,
    Job,
    Key,
    Loadable,
    Replace,
    Store,
)

COUNTS = {"documents": 504, "jobs": 2, "events": 3, "contents": 1, "chunks": 41}


async def opened(url: str) -> Store:
    store = open_store(url)
    await store.migrate()
    await store.open()
    return store


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Store]:
    store = await opened(f"sqlite:///{tmp_path}/source.db")
    await fill(store)
    yield store
    await store.close()


@pytest.fixture
def destination_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/destination.db"


async def fill(store: Store) -> None:
    """Something of everything, in two projects."""
    for project in ("proj_1", "proj_2"):
        [thread] = await store.write(Insert(Key(project, "threads", "thread_1"), {"id": "thread_1"}))
        await store.write(Replace(thread, state={"active_run": None}))
        await store.write(Enqueue(Job(project, "run", "run_1", due=time.time(), payload={"n": 1})))
    messages = [
        Insert(Key("proj_1", "messages", f"msg_{n}"), {"n": n}, parent="thread_1", labels=frozenset({"a"}))
        for n in range(502)
    ]
    await store.write(*messages)
    await store.write(
        Append("proj_1", "run_1", 0, [b"one", b"two\xff"]), Append("proj_1", "run_1", 2, [b"3"])
    )
    await store.write_content("proj_1", "file-1", pieces(b"content" * 100_000))
    chunks = [Chunk(n, f"apple {n}", (1.0, n / 10, 0.3)) for n in range(40)]
    await store.put_chunks("proj_1", "vs_1", "file-1", chunks, {"a": 1, "b": True})
    await store.put_chunks("proj_1", "vs_2", "file-1", [Chunk(0, "without a vector")], {})


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def check(store: Store) -> None:
    """That a store answers as the one that was moved."""
    page = await store.page("proj_1", "messages", "thread_1", label="a", limit=3)
    assert [document.id for document in page.documents] == ["msg_501", "msg_500", "msg_499"]
    content = b"".join([piece async for piece in store.read_content("proj_1", "file-1")])
    assert content == b"content" * 100_000
    [best, *_] = await store.search_vectors("proj_1", "vs_1", (1.0, 1.7, 0.3), 3)
    assert best.index == 17
    assert await store.read_log("proj_1", "run_1") == [(0, b"one"), (1, b"two\xff"), (2, b"3")]


async def test_a_store_moves_with_everything_in_it(source: Store, destination_url: str) -> None:
    destination = await opened(destination_url)
    told: list[Progress] = []
    report = await move(source, destination, told.append)
    assert (report.verified, report.differences) == (True, [])
    assert report.source == report.destination == COUNTS
    assert told[0].phase == "copying"
    assert told[-1] == Progress("verifying destination", COUNTS)
    await check(destination)
    await destination.close()


async def test_a_move_that_was_cut_off_goes_on_where_it_was(
    source: Store, destination_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = await opened(destination_url)
    checkpoint = tmp_path / "move.mark"
    load = destination.load
    loaded: list[int] = []

    async def load_twice(records: list[Loadable]) -> None:
        if len(loaded) == 2:
            raise asyncio.CancelledError
        loaded.append(len(records))
        await load(records)

    monkeypatch.setattr(destination, "load", load_twice)
    with pytest.raises(asyncio.CancelledError):
        await move(source, destination, checkpoint=checkpoint)
    assert checkpoint.exists()
    monkeypatch.undo()
    told: list[Progress] = []
    report = await move(source, destination, told.append, checkpoint)
    assert report.verified
    copied = [each for each in told if each.phase == "copying"][-1]
    assert copied.records == sum(COUNTS.values()) - sum(loaded)
    assert not checkpoint.exists()
    await check(destination)
    await destination.close()


async def test_differences_are_reported(source: Store, destination_url: str) -> None:
    destination = await opened(destination_url)
    assert (await move(source, destination)).verified
    document = await destination.get(Key("proj_1", "messages", "msg_7"))
    assert document is not None
    await destination.write(Replace(document, value={"n": 8}))
    await destination.write(Insert(Key("proj_1", "threads", "thread_2"), {}))
    other = await opened(destination_url)
    report = await compare(source, other, lambda _: None)
    assert report.differences == ["504 documents in the source, 505 in the destination"]
    await destination.close()
    await other.close()


@pytest.mark.cassandra
async def test_a_store_moves_to_cassandra_and_back(
    source: Store, destination_url: str, cassandra_url: str
) -> None:
    keyspace = cassandra_url.replace("/t_", "/m_")
    cluster, back = await opened(keyspace), await opened(destination_url)
    there = await move(source, cluster)
    assert there.differences == []
    assert there.destination == COUNTS
    await check(cluster)
    home = await move(cluster, back)
    assert home.differences == []
    await check(back)
    await cluster.close()
    await back.close()
