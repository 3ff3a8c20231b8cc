"""The store: one interface, and an engine for each database."""

from persistence.engines import open_store

__all__ = ["open_store"]
