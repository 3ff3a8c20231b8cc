"""A pool of connections to the many small databases of vector stores."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from persistence.sqlite.database import check, connect, migrate
from persistence.sqlite.directory import Directory
from persistence.sqlite.errors import mapped_errors
from persistence.sqlite.schema import INDEX

IDLE = 16
"""Connections kept open by a process; each holds a few file descriptors and its page cache."""

CACHE_KIB = 4 * 1024


class DatabaseDeleted(Exception):
    """The database was deleted meanwhile."""


class Pool:
    """Connections that belong to their caller until returned; safe from any thread.

    An older database is migrated when it is opened.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._idle: OrderedDict[apsw.Connection, str] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def connection(self, name: str) -> Iterator[apsw.Connection]:
        """Yield a connection without an open transaction; DatabaseDeleted if there is none."""
        with mapped_errors(self._directory.path_of(name)):
            connection = self._find(name) or self._open(name)
            try:
                yield connection
            except BaseException:
                connection.close()  # rolls back what is not committed
                raise
            self._keep(name, connection)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            connections, self._idle = list(self._idle), OrderedDict()
        for connection in connections:
            connection.close()

    def _find(self, name: str) -> apsw.Connection | None:
        with self._lock:
            for connection, other in reversed(self._idle.items()):
                if other == name:
                    del self._idle[connection]
                    return connection
        return None

    def _open(self, name: str) -> apsw.Connection:
        self.sweep()
        path = self._directory.path_of(name)
        try:
            connection = connect(path, cache_kib=CACHE_KIB)
        except apsw.CantOpenError as error:
            if path.exists():
                raise
            raise DatabaseDeleted(name) from error
        if check(connection, INDEX, path) < INDEX.version:
            migrate(path, INDEX)
        return connection

    def _keep(self, name: str, connection: apsw.Connection) -> None:
        with self._lock:
            self._idle[connection] = name
            oldest = self._idle.popitem(last=False)[0] if len(self._idle) > IDLE else None
        if oldest is not None:
            oldest.close()

    def sweep(self) -> None:
        """Close connections to databases that another process deleted, which would keep their disk space."""
        with self._lock:
            deleted = [c for c, name in self._idle.items() if not self._directory.path_of(name).exists()]
            for connection in deleted:
                del self._idle[connection]
        for connection in deleted:
            connection.close()
