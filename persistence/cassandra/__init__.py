"""The engine for clusters: Apache Cassandra 5 and Astra DB."""

from persistence.cassandra.store import CassandraStore
from persistence.cassandra.url import parse

__all__ = ["CassandraStore", "from_url"]


def from_url(url: str) -> CassandraStore:
    """Return the store of `cassandra://…` or `astra://…`, not connected yet; raises StoreRefused."""
    return CassandraStore(parse(url))
