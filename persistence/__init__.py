"""Where Astrolabe keeps what it knows: one interface, an engine per database."""

from persistence.engines import open_store

__all__ = ["open_store"]
