from collections.abc import AsyncIterator

import pytest

from persistence.cassandra import CassandraStore, from_url
from tests.contract.samples import List


@pytest.fixture
async def store(cassandra_url: str) -> AsyncIterator[CassandraStore]:
    store = from_url(cassandra_url)
    await store.migrate()
    await store.open()
    yield store
    await store.close()


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
