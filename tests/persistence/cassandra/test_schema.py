import secrets
import time

import pytest

from persistence.cassandra import CassandraStore, from_url, schema
from persistence.errors import StoreRefused

pytestmark = pytest.mark.cassandra


@pytest.fixture
def url(cassandra_url: str) -> str:
    """A keyspace that nobody made yet."""
    return cassandra_url.replace("/t_", f"/s_{secrets.token_hex(4)}_")


async def test_a_missing_keyspace_is_refused_at_once_with_the_command_that_creates_it(
    url: str,
) -> None:
    began = time.monotonic()
    with pytest.raises(StoreRefused, match="astrolabe migrate"):
        await from_url(url).open()
    assert time.monotonic() - began < 10


async def test_a_newer_schema_is_refused_at_once_by_all_that_read_it(url: str) -> None:
    store = from_url(url)
    await store.migrate()
    await store.open()
    newer = schema.CURRENT + 1
    query = "UPDATE migrations SET version=? WHERE name='schema' IF version != ?"
    await store.connection.compare_and_set([(query, (newer, newer))])
    began = time.monotonic()
    for work in (store.ping(), store.migrate(), CassandraStore(store.target).open()):
        with pytest.raises(StoreRefused, match=f"schema {newer}, this version knows up to {schema.CURRENT}"):
            await work
    assert time.monotonic() - began < 15
    await store.close()


async def test_a_keyspace_from_before_the_first_release_is_refused(url: str) -> None:
    store = from_url(url)
    await store.migrate()
    await store.open()
    query = "UPDATE migrations SET version=1 WHERE name='schema' IF version != 1"
    await store.connection.compare_and_set([(query, ())])
    for work in (store.ping(), store.migrate(), CassandraStore(store.target).open()):
        with pytest.raises(StoreRefused, match="name another keyspace"):
            await work
    await store.close()


async def test_a_schema_that_is_half_made_is_completed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = from_url(url)
    whole = schema.VERSIONS
    monkeypatch.setattr(schema, "VERSIONS", ((*whole[0][:3], "CREATE TABLE nonsense"),))
    with pytest.raises(Exception, match=r"(?i)syntax"):
        await store.migrate()
    monkeypatch.setattr(schema, "VERSIONS", whole)
    await store.migrate()
    await store.open()
    await store.ping()
    await store.close()


async def test_an_upgrade_that_stopped_after_adding_a_column_goes_on(url: str) -> None:
    store = from_url(url)
    await store.migrate()
    await store.open()
    query = "UPDATE migrations SET version=? WHERE name='schema' IF version != 1"
    await store.connection.compare_and_set([(query, (schema.OLDEST,))])
    await store.migrate()
    await store.ping()
    assert await schema.version(store.connection) == schema.CURRENT
    await store.close()
