"""What a process that is killed, or cut off from its database, leaves behind, and who removes it."""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator

import pytest

from astrolabe_server.persistence.cassandra import CassandraStore, from_url
from astrolabe_server.persistence.cassandra.contents import ABANDONED
from astrolabe_server.tests.persistence.cassandra.test_clocks import chunks, pieces, read

pytestmark = pytest.mark.cassandra


@pytest.fixture
def url(cassandra_url: str) -> str:
    """A keyspace of the test's own: a sweep is of a whole keyspace."""
    return cassandra_url.replace("/t_", f"/l_{secrets.token_hex(4)}_")


@pytest.fixture
async def store(url: str) -> AsyncIterator[CassandraStore]:
    store = from_url(url)
    await store.migrate()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def later(store: CassandraStore) -> AsyncIterator[CassandraStore]:
    """A store at a time at which what was begun today is abandoned."""
    later = CassandraStore(store.target, lambda: time.time() + ABANDONED + 1200)
    await later.open()
    yield later
    await later.close()


async def test_the_pieces_of_a_content_whose_writer_was_killed_are_swept(
    store: CassandraStore, later: CassandraStore, url: str, project: str
) -> None:
    await store.write_content(project, "whole", chunks(b"bytes"))
    module = "astrolabe_server.tests.persistence.cassandra.leaving"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, url, project, "half"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"in the midst\n"
    process.kill()
    await process.wait()
    assert await pieces(store, project) > 64
    await store.sweep()
    assert await pieces(store, project) > 64  # somebody may still be writing it
    await later.sweep()
    assert await pieces(store, project) == 1
    assert await read(store, project, "whole") == b"bytes"


async def test_a_sweep_goes_through_each_time_but_once(
    store: CassandraStore, later: CassandraStore, project: str
) -> None:
    await store.write_content(project, "file_1", chunks(b"bytes"))
    await later.sweep()
    before = later.connection.sent
    await later.sweep()
    assert later.connection.sent - before == 1


async def test_a_content_that_is_written_again_is_swept_of_nothing(
    store: CassandraStore, later: CassandraStore, project: str
) -> None:
    await store.write_content(project, "file_1", chunks(b"old"))
    await store.write_content(project, "file_1", chunks(b"new"))
    await later.sweep()
    assert await read(store, project, "file_1") == b"new"
    assert await pieces(store, project) == 1
