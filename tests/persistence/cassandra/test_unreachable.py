import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from persistence.cassandra import CassandraStore, from_url
from persistence.errors import StoreUnavailable
from persistence.store import Insert, Key
from tests.persistence.cassandra.proxy import Proxy
from tests.server import free_port

pytestmark = pytest.mark.cassandra


@pytest.fixture
async def proxy(cassandra_url: str, store: CassandraStore) -> AsyncIterator[Proxy]:
    async with Proxy(urlsplit(cassandra_url).netloc) as proxy:
        yield proxy


@pytest.fixture
async def far(cassandra_url: str, proxy: Proxy) -> AsyncIterator[CassandraStore]:
    """A store that reaches the node through the proxy, and waits for no more than two seconds."""
    parts = urlsplit(cassandra_url)
    store = from_url(f"cassandra://127.0.0.1:{proxy.port}{parts.path}?{parts.query}&wait=2&timeout=2")
    await store.open()
    yield store
    await store.close()


async def until(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Try until it succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await work()
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            return


async def test_a_store_that_is_not_there_at_start_is_waited_for_and_then_named() -> None:
    port = free_port()
    store = from_url(f"cassandra://127.0.0.1:{port}/nothing?wait=1")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{port}: .*refused") as error:
        await store.open()
    assert 1 <= time.monotonic() - began < 15
    assert error.value.__cause__ is not None


async def test_a_store_that_comes_up_while_it_is_waited_for_is_used(cassandra_url: str, proxy: Proxy) -> None:
    await proxy.cut()
    parts = urlsplit(cassandra_url)
    store = from_url(f"cassandra://127.0.0.1:{proxy.port}{parts.path}?{parts.query}&wait=20")
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0.5)
    assert not opening.done()
    await proxy.mend()
    await opening
    await store.ping()
    await store.close()


async def test_a_store_that_goes_away_fails_fast_and_is_used_again_when_it_is_back(
    far: CassandraStore, proxy: Proxy, project: str
) -> None:
    await proxy.cut()
    with pytest.raises(StoreUnavailable):
        while True:  # the first requests may still be on their way
            await far.ping()
    for work in (
        far.ping(),
        far.get(Key(project, "threads", "x")),
        far.write(Insert(Key(project, "threads", "x"), {})),
        far.take_jobs("run", "me", 10, 1),
        far.search_text(project, "vs_1", "apple", 10),
    ):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{proxy.port}"):
            await work
        assert time.monotonic() - began < 3
    await proxy.mend()
    await until(far.ping, 15)
    await far.write(Insert(Key(project, "threads", "y"), {}))


async def test_a_store_that_hangs_fails_in_time_and_no_write_is_done_twice(
    far: CassandraStore, store: CassandraStore, proxy: Proxy, project: str
) -> None:
    key = Key(project, "threads", "x")
    await far.write(Insert(Key(project, "threads", "first"), {}))
    proxy.pause()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await far.write(Insert(key, {"a": 1}))
    assert time.monotonic() - began < 12
    proxy.resume()
    await until(far.ping, 15)
    page = await store.page(project, "threads")
    assert [document.id for document in page.documents].count("x") <= 1
