import asyncio
import secrets
import shutil
import stat
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from persistence.cassandra import astra, from_url, schema
from persistence.cassandra.url import parse
from persistence.errors import CredentialsRefused, DatabaseAmbiguous, StoreRefused, StoreUnavailable
from persistence.store import Insert, Key
from tests.fixtures.cassandra import TOKEN, PasswordNode
from tests.fixtures.required import requires
from tests.persistence.cassandra.devops import (
    DATABASE,
    Astra,
    bundle,
    serving,
    way_in,
)
from tests.server import free_port


@pytest.fixture
async def api() -> AsyncIterator[Astra]:
    """The DevOps API of a database with a bundle that nobody connects with."""
    api = Astra(bundle=bundle(b"", b"", 1))
    async with serving(api.application()) as port:
        api.url = f"http://127.0.0.1:{port}"
        yield api


def devops(api: Astra, *, wait: float = 5, token: str = TOKEN, database: str = DATABASE) -> astra.DevOps:
    return astra.DevOps(parse(f"astra://{database}/talk?token={token}&api={api.url}&wait={wait}&timeout=1"))


async def test_the_bundle_is_fetched_with_the_token_and_the_token_goes_nowhere_else(api: Astra) -> None:
    assert await devops(api).fetch_bundle() == api.bundle
    assert api.requests == [
        f"POST /v2/databases/{DATABASE}/secureBundleURL",
        "GET /bundles/secure-connect.zip",
    ]


async def test_a_missing_keyspace_is_made_and_waited_for_until_the_database_is_active(api: Astra) -> None:
    await devops(api).create_keyspace()
    assert (api.keyspaces, api.status) == (["default_keyspace", "talk"], "ACTIVE")
    assert api.requests.count(f"POST /v2/databases/{DATABASE}/keyspaces/talk") == 1


async def test_a_keyspace_that_another_replica_is_making_is_waited_for(api: Astra) -> None:
    api.keyspaces.append("talk")
    api.status = "MAINTENANCE"
    await devops(api).create_keyspace()
    assert api.requests == [f"GET /v2/databases/{DATABASE}"] * 2


async def test_an_api_that_fails_for_a_moment_is_asked_again(api: Astra) -> None:
    api.failures = [409, 503]
    assert await devops(api).fetch_bundle() == api.bundle


async def test_a_rejected_token_is_refused_and_not_shown(api: Astra) -> None:
    work = devops(api, token="AstraCS:wrong:hidden")
    for failing in (work.fetch_bundle, work.create_keyspace):
        with pytest.raises(
            StoreRefused, match=rf"database {DATABASE} is not open to this token.*make a token"
        ) as error:
            await failing()
        assert "hidden" not in str(error.value)


@pytest.mark.parametrize("status", [400, 422])
async def test_a_refusal_of_the_api_is_raised_in_its_words(api: Astra, status: int) -> None:
    api.failures = [status]
    with pytest.raises(StoreRefused, match=f"{DATABASE}: the API answered {status}: Something is broken"):
        await devops(api).fetch_bundle()


async def test_a_database_that_does_not_exist_is_refused(api: Astra) -> None:
    with pytest.raises(StoreRefused, match="database 4711 does not exist"):
        await devops(api, database="4711").fetch_bundle()


async def test_a_database_that_does_not_become_active_is_unavailable_in_the_end(api: Astra) -> None:
    api.status, api.maintenance = "MAINTENANCE", 1000
    with pytest.raises(StoreUnavailable, match=rf"{DATABASE} was not ready within 1.5 s .*409.*portal"):
        await devops(api, wait=1.5).fetch_bundle()
    with pytest.raises(StoreUnavailable, match="it is MAINTENANCE, and has no keyspace talk yet"):
        await devops(api, wait=1.5).create_keyspace()


async def test_a_database_that_sleeps_is_refused_at_once(api: Astra) -> None:
    api.status = "HIBERNATED"
    began = time.monotonic()
    with pytest.raises(StoreRefused, match=rf"{DATABASE} is HIBERNATED: resume it"):
        await devops(api).create_keyspace()
    assert time.monotonic() - began < 2


async def test_the_one_database_of_a_token_needs_no_name(api: Astra) -> None:
    assert await devops(api).only_database() == DATABASE
    for databases in ([], [DATABASE, "another"]):
        api.databases = databases
        with pytest.raises(DatabaseAmbiguous, match="astra-db-id"):
            await devops(api).only_database()


async def test_an_api_that_nobody_serves_is_named() -> None:
    port = free_port()
    url = f"astra://{DATABASE}/talk?token={TOKEN}&api=http://127.0.0.1:{port}&wait=1"
    with pytest.raises(StoreUnavailable, match=rf"no answer from http://127.0.0.1:{port}") as error:
        await from_url(url).open()
    assert "secret" not in str(error.value)


async def test_an_answer_that_is_no_bundle_is_refused(api: Astra) -> None:
    api.bundle = b"<html>"
    with pytest.raises(StoreRefused, match="something other than a secure-connect bundle"):
        await devops(api).fetch_bundle()


def test_a_bundle_is_on_the_disk_for_nobody_else_and_only_while_it_is_read() -> None:
    with astra.private_file(b"key") as name:
        path = Path(name)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.read_bytes() == b"key"
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("CREATE TABLE t (a int) WITH ID = 1", "CREATE TABLE t (a int)"),
        (
            "CREATE TABLE t (a int)\nWITH compaction = {'class': 'X'} AND default_time_to_live = 5",
            "CREATE TABLE t (a int) WITH default_time_to_live = 5",
        ),
        ("CREATE TABLE t (a int)", "CREATE TABLE t (a int)"),
    ],
)
def test_options_that_astra_ignores_are_left_out(definition: str, expected: str) -> None:
    assert astra.supported(definition) == expected


def test_no_table_uses_options_that_astra_ignores_and_each_keeps_its_order() -> None:
    tables: Sequence[str] = [each for version in schema.VERSIONS for each in version]
    for definition in (*tables, schema.LOCK_TABLE, schema.VECTORS, schema.NEAREST):
        kept = astra.supported(definition).lower()
        assert not any(f"{option} = " in kept for option in astra.UNSUPPORTED_OPTIONS)
        for word in ("clustering order by", "default_time_to_live", "similarity_function"):
            assert (word in kept) == (word in definition.lower())


@pytest.mark.cassandra
@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning")
@requires(shutil.which("openssl"), "openssl is not installed")
async def test_with_nothing_but_a_token_the_keyspace_is_made_and_served_over_tls(
    password_node: PasswordNode, tmp_path: Path
) -> None:
    async def make(keyspace: str) -> None:
        await asyncio.to_thread(password_node.create_keyspace, keyspace)

    keyspace = f"a_{secrets.token_hex(6)}"
    async with way_in(tmp_path, password_node.address, password_node.host_id) as content:
        api = Astra(bundle=content, made=make)
        async with serving(api.application()) as port:
            far = from_url(f"astra://{DATABASE}/{keyspace}?token={TOKEN}&api=http://127.0.0.1:{port}")
            with pytest.raises(StoreRefused, match="astrolabe migrate"):
                await far.open()
            await far.migrate()
            assert keyspace in api.keyspaces
            await far.open()
            key = Key("project", "threads", "thread_1")
            await far.write(Insert(key, {"a": 1}))
            document = await far.get(key)
            assert document is not None
            assert document.value == {"a": 1}
            await far.close()


@pytest.mark.cassandra
async def test_a_password_that_the_node_refuses_is_not_shown(password_node: PasswordNode) -> None:
    store = from_url(f"cassandra://token:wrong-secret@{password_node.address}/k?dc=datacenter1&rf=1&wait=1")
    with pytest.raises(CredentialsRefused) as refused:
        await store.migrate()
    assert "wrong-secret" not in str(refused.value)
