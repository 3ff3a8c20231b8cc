"""What a process that is killed, or cut off from its database, leaves behind, and who removes it."""

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import urlsplit

import pytest

from persistence.cassandra import CassandraStore, from_url
from persistence.cassandra.contents import ABANDONED
from persistence.cassandra.driver import Outcome, Statement
from persistence.errors import StoreUnavailable
from persistence.store import Delete, Insert, Key
from tests.persistence.cassandra.proxy import Proxy
from tests.persistence.cassandra.test_clocks import chunks, read, stripes

pytestmark = pytest.mark.cassandra


@pytest.fixture(scope="session")
def hours() -> Iterator[int]:
    """Hours from now, later each time: a keyspace is swept up to a time, and never again before it."""
    return itertools.count(0, 10)


@pytest.fixture
def shift(hours: Iterator[int]) -> float:
    """The seconds by which a test is later than now."""
    return next(hours) * 3600.0


@pytest.fixture
async def writer(store: CassandraStore, shift: float) -> AsyncIterator[CassandraStore]:
    """A store of the test's time."""
    writer = CassandraStore(store.target, lambda: time.time() + shift)
    await writer.open()
    yield writer
    await writer.close()


@pytest.fixture
async def later(store: CassandraStore, shift: float) -> AsyncIterator[CassandraStore]:
    """A store at a time at which what was begun in the test is abandoned."""
    later = CassandraStore(store.target, lambda: time.time() + shift + ABANDONED + 1200)
    await later.open()
    yield later
    await later.close()


async def test_the_pieces_of_a_content_whose_writer_was_killed_are_swept(
    writer: CassandraStore, later: CassandraStore, cassandra_url: str, shift: float, project: str
) -> None:
    await writer.write_content(project, "whole", chunks(b"bytes"))
    module = "tests.persistence.cassandra.leaving"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, cassandra_url, project, "half", str(shift)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"in the midst\n"
    process.kill()
    await process.wait()
    assert await stripes(writer, project) == 3
    await writer.sweep()
    assert await stripes(writer, project) == 3  # somebody may still be writing it
    await later.sweep()
    assert await stripes(writer, project) == 1
    assert await read(writer, project, "whole") == b"bytes"


async def test_a_sweep_goes_through_each_time_but_once(
    writer: CassandraStore, later: CassandraStore, project: str
) -> None:
    await writer.write_content(project, "file_1", chunks(b"bytes"))
    await later.sweep()
    before = later.connection.sent
    await later.sweep()
    assert later.connection.sent - before == 1


async def test_sweeping_keeps_a_content_that_was_written_twice(
    writer: CassandraStore, later: CassandraStore, project: str
) -> None:
    await writer.write_content(project, "file_1", chunks(b"old"))
    await writer.write_content(project, "file_1", chunks(b"new"))
    await later.sweep()
    assert await read(writer, project, "file_1") == b"new"
    assert await stripes(writer, project) == 1


@pytest.fixture
async def proxy(cassandra_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(urlsplit(cassandra_url).netloc) as proxy:
        yield proxy


@pytest.fixture
async def doomed(store: CassandraStore, cassandra_url: str, proxy: Proxy) -> AsyncIterator[CassandraStore]:
    """A store that is cut off from its database after its first transaction, for good."""
    parts = urlsplit(cassandra_url)
    doomed = from_url(f"cassandra://127.0.0.1:{proxy.port}{parts.path}?{parts.query}&wait=5&timeout=1")
    await doomed.open()
    transact = doomed.connection.compare_and_set

    async def transact_and_be_cut_off(statements: Sequence[Statement]) -> Outcome:
        outcome = await transact(statements)
        await proxy.cut()
        return outcome

    doomed.connection.compare_and_set = transact_and_be_cut_off  # type: ignore[method-assign]
    yield doomed
    await doomed.close()


@pytest.fixture
async def soon(store: CassandraStore) -> AsyncIterator[CassandraStore]:
    """A store two minutes from now."""
    soon = CassandraStore(store.target, lambda: time.time() + 120)
    await soon.open()
    yield soon
    await soon.close()


async def listed(store: CassandraStore, project: str, label: str | None = None) -> list[str]:
    return [each.id for each in (await store.page(project, "things", label=label)).documents]


async def test_an_entry_without_its_object_is_removed_when_the_object_is_read(
    store: CassandraStore, soon: CassandraStore, doomed: CassandraStore, project: str
) -> None:
    key = Key(project, "things", "thing_1")
    await store.write(Insert(Key(project, "things", "whole"), {}))
    with pytest.raises(StoreUnavailable):
        await doomed.write(Insert(key, {"a": 1}, labels=frozenset({"red"})))
    assert await store.get(key) is None
    assert await listed(store, project) == ["thing_1", "whole"]  # its writer may still be at it
    assert await soon.get(key) is None
    assert await listed(store, project) == ["whole"]
    assert await listed(store, project, label="red") == []
    await store.write(Insert(key, {"a": 2}))
    assert await listed(store, project) == ["thing_1", "whole"]


async def test_the_entry_of_a_deleted_object_is_removed_when_the_object_is_read(
    store: CassandraStore, soon: CassandraStore, doomed: CassandraStore, project: str
) -> None:
    key = Key(project, "things", "thing_1")
    [document] = await store.write(Insert(key, {}, labels=frozenset({"red"})))
    with pytest.raises(StoreUnavailable):
        await doomed.write(Delete(document))
    assert await listed(store, project) == ["thing_1"]
    assert await soon.get(key) is None
    assert await listed(store, project) == []
    assert await listed(store, project, label="red") == []


async def test_an_entry_without_its_object_works_as_a_cursor(
    store: CassandraStore, doomed: CassandraStore, project: str
) -> None:
    for id in ("thing_1", "thing_2", "thing_3"):
        [document] = await store.write(Insert(Key(project, "things", id), {}))
        if id == "thing_2":
            half = document
    with pytest.raises(StoreUnavailable):
        await doomed.write(Delete(half))
    page = await store.page(project, "things", after="thing_2")
    assert [each.id for each in page.documents] == ["thing_1"]


async def test_reading_an_unknown_id_costs_one_more_statement_and_changes_nothing(
    store: CassandraStore, soon: CassandraStore, project: str
) -> None:
    await store.write(Insert(Key(project, "things", "thing_1"), {}))
    before = soon.connection.sent
    assert await soon.get(Key(project, "things", "nothing")) is None
    assert soon.connection.sent - before == 2
    assert await listed(store, project) == ["thing_1"]
