"""The embedded engine: SQLite, through apsw."""

from astrolabe_server.persistence.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
