"""The embedded engine: SQLite, through apsw."""

from persistence.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
