from collections.abc import AsyncIterator

import pytest

from persistence.cassandra import CassandraStore
from tests.contract.samples import List
from tests.fixtures.stores import store_at


@pytest.fixture
async def store(cassandra_url: str) -> AsyncIterator[CassandraStore]:
    async with store_at(cassandra_url) as store:
        assert isinstance(store, CassandraStore)
        yield store


@pytest.fixture
async def other(store: CassandraStore) -> AsyncIterator[CassandraStore]:
    """The store of another process: it knows nothing of what the first remembers."""
    other = CassandraStore(store.target)
    await other.open()
    yield other
    await other.close()


@pytest.fixture
def messages(store: CassandraStore, project: str, request: pytest.FixtureRequest) -> List:
    """A list; with a parameter, that is the prefix of its documents' ids."""
    return List(store, project, "messages", "thread_1", getattr(request, "param", ""))
