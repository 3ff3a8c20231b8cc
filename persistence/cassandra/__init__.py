"""The cluster engine: Apache Cassandra 5 and Astra DB."""

from persistence.cassandra.store import CassandraStore
from persistence.cassandra.url import parse

__all__ = ["CassandraStore", "from_url"]


def from_url(url: str) -> CassandraStore:
    """The store of `cassandra://…` or `astra://…`, not connected yet; StoreRefused says what is wrong."""
    return CassandraStore(parse(url))
