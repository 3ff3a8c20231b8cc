"""Connections to one SQLite file: pragmas, application id, schema version."""

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from persistence.errors import StoreRefused, StoreUnavailable
from persistence.sqlite.errors import mapped_errors

BUSY_SECONDS = 15.0
"""How long a writer waits for another process before StoreUnavailable."""

CACHE_KIB = 8 * 1024
"""Page cache of one connection: a worker has two that fill with what it reads and writes."""

JOURNAL_BYTES = 64 * 1024 * 1024
"""What a write-ahead log that a burst made longer is cut to."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """A file's application id, and one script for each version of its schema."""

    application_id: int
    scripts: Sequence[str]
    page_size: int = 4096

    @property
    def version(self) -> int:
        """The newest version this code knows."""
        return len(self.scripts)


def busy_handler(seconds: float) -> Callable[[int], bool]:
    """Return a busy handler that retries every 0.1 to 1 ms, so that no process waits much too long.

    SQLite's own handler backs off to 100 ms, which starves a writer next to one that always commits.
    """
    began = 0.0

    def wait(attempts: int) -> bool:
        nonlocal began
        now = time.monotonic()
        if attempts == 0:
            began = now
        if now - began > seconds:
            return False
        time.sleep(random.uniform(0.0001, 0.001))  # noqa: S311 - spreads waiters, no secret
        return True

    return wait


def connect(path: Path, *, cache_kib: int = CACHE_KIB, busy: float = BUSY_SECONDS) -> apsw.Connection:
    """Return a connection to a migrated database; any one thread may use it at a time."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX)
    connection.set_busy_handler(busy_handler(busy))
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute(f"PRAGMA journal_size_limit={JOURNAL_BYTES}")
    return connection


class FileIdentity:
    """The file that was opened. SQLite keeps writing to a deleted file, and those writes are lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._found()

    def check(self) -> None:
        """Raise StoreUnavailable unless the opened file is still at its path."""
        if self._found() != self._file:
            raise StoreUnavailable(f"{self._path} is another file than was opened: restart the server")

    def _found(self) -> tuple[int, int]:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - half the time of Path.stat
        except OSError as error:
            raise StoreUnavailable(
                f"{self._path} was deleted or cannot be read ({error.strerror})"
            ) from error
        return status.st_dev, status.st_ino


def fetch_one(connection: apsw.Connection, sql: str, bindings: Row = ()) -> Row | None:
    """Return the first row of a query, or None."""
    return connection.execute(sql, bindings).fetchone()


def fetch_all(connection: apsw.Connection, sql: str, bindings: Row = ()) -> list[Row]:
    """Return all rows of a query."""
    return connection.execute(sql, bindings).fetchall()


def check(connection: apsw.Connection, schema: Schema, path: Path) -> int:
    """Return the file's schema version, 0 if it is new; StoreRefused for a foreign or newer file."""
    with connection:  # one snapshot, as another process may be making the schema
        application_id = connection.pragma("application_id")
        version = connection.pragma("user_version")
        empty = fetch_one(connection, "SELECT 1 FROM sqlite_schema LIMIT 1") is None
    if empty and application_id == 0:
        return 0
    if application_id != schema.application_id:
        raise StoreRefused(f"{path} is a database of another application; name another file")
    if version > schema.version:
        raise StoreRefused(
            f"{path} was made by a newer version of Astrolabe (schema {version}; this one knows up to "
            f"{schema.version}): run that version, or restore a backup made before the upgrade"
        )
    return int(version)


def migrate(path: Path, schema: Schema) -> None:
    """Create the file, or migrate it; when several processes do so, each step runs once.

    A new file is its owner's alone; SQLite gives the files beside it the same mode.
    """
    with mapped_errors(path):
        with suppress(OSError):  # which SQLite then says in its own words
            path.touch(mode=0o600)
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(path), flags=flags)
        try:
            connection.set_busy_handler(busy_handler(60.0))
            if check(connection, schema, path) == schema.version:
                return
            connection.execute(f"PRAGMA page_size={schema.page_size}")
            write_ahead(connection, path)
            connection.execute("BEGIN IMMEDIATE")
            apply(connection, schema, check(connection, schema, path))
            connection.execute("COMMIT")  # an error before it closes the connection, which rolls back
        finally:
            connection.close()


def apply(connection: apsw.Connection, schema: Schema, version: int) -> None:
    """Run the scripts that the file has not run."""
    for script in schema.scripts[version:]:
        connection.execute(script)
    connection.execute(f"PRAGMA application_id={schema.application_id}")
    connection.execute(f"PRAGMA user_version={schema.version}")


def write_ahead(connection: apsw.Connection, path: Path) -> None:
    """Switch to WAL, which needs exclusive access and does not call the busy handler."""
    deadline = time.monotonic() + 60.0
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
            continue
        if mode != "wal":
            raise StoreUnavailable(f"{path}: this file system does not hold a database in WAL mode ({mode})")
        return
