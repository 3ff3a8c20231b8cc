"""The cluster engine: Apache Cassandra 5 and Astra DB."""

from astrolabe_server.persistence.cassandra.store import CassandraStore
from astrolabe_server.persistence.cassandra.url import parse

__all__ = ["CassandraStore", "from_url"]


def from_url(url: str) -> CassandraStore:
    """The store of `cassandra://…` or `astra://…`, not connected yet; StoreRefused says what is wrong."""
    return CassandraStore(parse(url))
