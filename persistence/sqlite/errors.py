"""SQLite's errors as the store's, in one table."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from persistence.errors import DocumentTooLarge, StoreError, StoreFull, StoreRefused, StoreUnavailable

ERRORS: tuple[tuple[type[apsw.Error], type[StoreError], str], ...] = (
    (apsw.BusyError, StoreUnavailable, "another process has kept the database locked for too long"),
    (apsw.LockedError, StoreUnavailable, "the database is locked"),
    (apsw.InterruptError, StoreUnavailable, "the query was interrupted"),
    (apsw.FullError, StoreFull, "no room left on the device"),
    (apsw.ReadOnlyError, StoreUnavailable, "the database, or the directory it is in, cannot be written to"),
    (apsw.PermissionsError, StoreUnavailable, "no permission to use the database"),
    (apsw.CantOpenError, StoreUnavailable, "the database cannot be opened"),
    (apsw.IOError, StoreUnavailable, "reading or writing the disk failed"),
    (apsw.NoMemError, StoreUnavailable, "out of memory"),
    (apsw.ProtocolError, StoreUnavailable, "the locks of the database do not work on this file system"),
    (apsw.NoLFSError, StoreUnavailable, "the file system holds no files of that size"),
    (apsw.CorruptError, StoreUnavailable, "the file is damaged; restore it from a backup"),
    (apsw.NotADBError, StoreRefused, "the file is not an SQLite database"),
    (apsw.FormatError, StoreRefused, "the file is not an SQLite database"),
    (apsw.TooBigError, DocumentTooLarge, "an object is larger than a row can be"),
    (apsw.SchemaChangeError, StoreUnavailable, "the schema was changed meanwhile"),
    (apsw.EmptyError, StoreUnavailable, "the database is empty"),
)


def map_error(error: apsw.Error, path: object) -> StoreError:
    """Return the store's error for one of SQLite's; a bug in a statement is a plain StoreError."""
    for cause, effect, meaning in ERRORS:
        if isinstance(error, cause):
            return effect(f"{path}: {meaning} ({error})")
    return StoreError(f"{path}: {error}")


@contextmanager
def mapped_errors(path: object) -> Iterator[None]:
    """Raise SQLite's errors as the store's."""
    try:
        yield
    except apsw.Error as error:
        raise map_error(error, path) from error
