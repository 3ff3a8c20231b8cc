"""The tables, their versions, and their migration by one process while others wait."""

import asyncio
import re
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from persistence.cassandra import astra
from persistence.cassandra.driver import Connection
from persistence.cassandra.errors import KeyspaceMissing
from persistence.errors import StoreRefused, StoreUnavailable

LOCK_TABLE = """CREATE TABLE IF NOT EXISTS {keyspace}.migrations (
    name text PRIMARY KEY, version int, owner text, at bigint
) WITH ID = {id}"""
"""Its id follows from the keyspace, so that several processes that make it at once make one table."""

LOCK_SECONDS = 300
WAIT = 0.5

AGREEMENT = 20.0
"""Seconds that the nodes of a cluster have to agree on a schema."""

T = TypeVar("T")

OBJECTS = """CREATE TABLE objects (
    project text, home text, bucket int, section text, label text, position bigint,
    newest map<text, int> static, closed_lists map<text, int> static, logged boolean static,
    id text, value blob, state blob, parent text, labels frozen<set<text>>, place bigint, shelf int,
    version bigint, writer text, checked tinyint, at double,
    last bigint, rows int, bytes bigint, closed boolean,
    due double, lease bigint, owner text, payload blob,
    events frozen<list<blob>>,
    PRIMARY KEY ((project, home, bucket), section, label, position)
) WITH CLUSTERING ORDER BY (section ASC, label ASC, position DESC)"""

TIME_WINDOWS = """{'class': 'TimeWindowCompactionStrategy',
    'compaction_window_unit': 'HOURS', 'compaction_window_size': 12}"""

VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        OBJECTS,
        f"""CREATE TABLE due (
            kind text, bucket bigint, at bigint, project text, id text,
            PRIMARY KEY ((kind, bucket), at, project, id)
        ) WITH compaction = {TIME_WINDOWS} AND default_time_to_live = 2592000 AND gc_grace_seconds = 86400""",
        "CREATE TABLE kinds (kind text PRIMARY KEY, first bigint, settled bigint)",
        """CREATE TABLE contents (
            project text, id text, generation text, size bigint, PRIMARY KEY ((project, id))
        )""",
        """CREATE TABLE content_pieces (
            project text, id text, generation text, stripe int, piece int, data blob,
            PRIMARY KEY ((project, id, generation, stripe), piece)
        )""",
        f"""CREATE TABLE content_beginnings (
            bucket bigint, project text, id text, generation text,
            PRIMARY KEY ((bucket), project, id, generation)
        ) WITH compaction = {TIME_WINDOWS} AND default_time_to_live = 2592000 AND gc_grace_seconds = 86400""",
        """CREATE TABLE sources (
            project text, store text, file text,
            version bigint, dimension int, shard int, shard_bytes bigint, part int, part_rows int,
            chunks bigint, words bigint,
            generation text, attributes blob, batches frozen<map<text, tuple<int, int, int>>>,
            PRIMARY KEY ((project, store), file)
        )""",
        """CREATE TABLE chunks (
            project text, store text, source text, number int, text text, pile text, shard int, words int,
            PRIMARY KEY ((project, store, source), number)
        )""",
        """CREATE TABLE postings (
            project text, store text, part int, slot int, term text, source text, pile text, data blob,
            PRIMARY KEY ((project, store, part, slot), term, source, pile)
        )""",
    ),
    ("ALTER TABLE objects ADD takeovers int",),
)

OLDEST = 2
"""The version of the first of them. 1 was of the project's first hours, and laid its rows out otherwise."""

CURRENT = OLDEST + len(VERSIONS) - 1


async def migrate(connection: Connection) -> bool:
    """Create keyspace and tables, or migrate them, and return whether they are new.

    Safe when other processes do the same. StoreRefused if the tables are newer than this code knows.
    `connection` has no keyspace yet.
    """
    keyspace = connection.target.keyspace
    await _create_keyspace(connection)
    await retry_while_unavailable(lambda: _create_lock_table(connection))
    await connection.close()
    await retry_while_unavailable(lambda: connection.open(keyspace))
    deadline = time.monotonic() + LOCK_SECONDS
    is_new = await retry_while_unavailable(lambda: version(connection)) == 0
    while not await retry_while_unavailable(lambda: _migrate_once(connection)):
        if time.monotonic() > deadline:
            raise StoreUnavailable("another process has been migrating the schema for five minutes")
        await asyncio.sleep(WAIT)
    await connection.wait_for_schema_agreement()
    return is_new


async def _migrate_once(connection: Connection) -> bool:
    """Return whether the tables are up to date; migrate them if no other process does."""
    if await version(connection) == CURRENT:
        return True
    if not await _locked(connection, owner := secrets.token_hex(8)):
        return False
    try:
        await _upgrade(connection)
    finally:
        await _unlock(connection, owner)
    return True


async def retry_while_unavailable(work: Callable[[], Awaitable[T]], seconds: float = AGREEMENT) -> T:
    """Retry while nodes are busy or do not know yet what another one created."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await work()
        except (StoreUnavailable, KeyspaceMissing):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(WAIT)


async def _create_lock_table(connection: Connection) -> None:
    keyspace = connection.target.keyspace
    query = "SELECT id FROM system_schema.tables WHERE keyspace_name=? AND table_name='migrations'"
    if not await connection.run(query, (keyspace,)):
        table = uuid.uuid5(uuid.NAMESPACE_DNS, f"{keyspace}.astrolabe")
        await connection.execute_ddl(LOCK_TABLE.format(keyspace=keyspace, id=table))


VECTORS = """CREATE TABLE IF NOT EXISTS vectors_{0} (
    project text, store text, shard int, source text, number int, vector vector<float, {0}>, given blob,
    PRIMARY KEY ((project, store, shard), source, number)
) WITH compression = {{'enabled': false}}"""
NEAREST = """CREATE CUSTOM INDEX IF NOT EXISTS vectors_{0}_nearest ON vectors_{0} (vector)
    USING 'StorageAttachedIndex' WITH OPTIONS = {{'similarity_function': 'dot_product'}}"""


async def create_vector_table(connection: Connection, dimension: int) -> None:
    """Create the table for vectors of one length, once per keyspace."""
    name = f"vectors_{dimension}"
    done = "SELECT version FROM migrations WHERE name=?"
    while not await connection.run(done, (name,)):
        if await _locked(connection, owner := secrets.token_hex(8)):
            try:
                await connection.execute_ddl(VECTORS.format(dimension))
                await connection.execute_ddl(NEAREST.format(dimension))
                await connection.run("INSERT INTO migrations (name, version) VALUES (?,?)", (name, dimension))
            finally:
                await _unlock(connection, owner)
        else:
            await asyncio.sleep(WAIT)


async def check(connection: Connection) -> None:
    """Raise StoreRefused unless the tables have the version that this code knows."""
    found = await version(connection)
    if found < CURRENT:
        raise StoreRefused(
            f"keyspace {connection.target.keyspace} has schema {found}, this version needs {CURRENT}: "
            "run `astrolabe migrate`"
        )


async def version(connection: Connection) -> int:
    """Return the version of the tables, 0 for none; StoreRefused for one that this code does not know."""
    outcome = await connection.run("SELECT version FROM migrations WHERE name='schema'")
    found = int(outcome[0][0] or 0) if outcome else 0
    if found > CURRENT:
        raise StoreRefused(
            f"keyspace {connection.target.keyspace} has schema {found}, this version knows up to {CURRENT}: "
            "it was used by a newer Astrolabe"
        )
    if 0 < found < OLDEST:
        raise StoreRefused(
            f"keyspace {connection.target.keyspace} has schema {found}, from before the first release: "
            "drop it, or name another keyspace in the store's URL"
        )
    return found


async def _create_keyspace(connection: Connection) -> None:
    target = connection.target
    known = await connection.run(
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name=?", (target.keyspace,)
    )
    if known:
        return
    if target.database:
        await astra.DevOps(target).create_keyspace()
        return
    datacenter = target.datacenter or connection.local_datacenter()
    await connection.execute_ddl(
        f"CREATE KEYSPACE IF NOT EXISTS {target.keyspace} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{datacenter}': {target.replicas}}}"
    )


async def _upgrade(connection: Connection) -> None:
    for number in range(max(await version(connection), OLDEST - 1) + 1, CURRENT + 1):
        for statement in VERSIONS[number - OLDEST]:
            if not await _has_column(connection, statement):
                await connection.execute_ddl(
                    statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
                )
        await connection.compare_and_set(
            [
                (
                    "UPDATE migrations SET version=?, at=? WHERE name='schema' IF version != ?",
                    (number, _now(), number),
                )
            ]
        )


async def _has_column(connection: Connection, statement: str) -> bool:
    """Return whether a process that died has added the column of an ALTER TABLE already."""
    added = re.fullmatch(r"ALTER TABLE (\w+) ADD (\w+) \w+", statement)
    if added is None:
        return False
    query = """SELECT column_name FROM system_schema.columns
        WHERE keyspace_name=? AND table_name=? AND column_name=?"""
    return bool(await connection.run(query, (connection.target.keyspace, *added.groups())))


async def _locked(connection: Connection, owner: str) -> bool:
    query = "INSERT INTO migrations (name, owner, at) VALUES ('lock', ?, ?) IF NOT EXISTS USING TTL ?"
    return (await connection.compare_and_set([(query, (owner, _now(), LOCK_SECONDS))])).applied


async def _unlock(connection: Connection, owner: str) -> None:
    await connection.compare_and_set([("DELETE FROM migrations WHERE name='lock' IF owner=?", (owner,))])


def _now() -> int:
    return time.time_ns() // 1000
