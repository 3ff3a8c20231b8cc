"""The engine for clusters: Apache Cassandra 5 and Astra DB."""

from dataclasses import replace
from urllib.parse import urlsplit

from persistence.cassandra.astra import DevOps
from persistence.cassandra.store import CassandraStore
from persistence.cassandra.url import parse

__all__ = ["CassandraStore", "for_token", "from_url", "template"]

TENANT_WAIT = 15.0
"""Seconds for which a caller waits for its database, unless the URL says so."""

UNKNOWN = "-"


def from_url(url: str) -> CassandraStore:
    """Return the store of `cassandra://…` or `astra://…`, not connected yet; raises StoreRefused."""
    return CassandraStore(parse(url))


async def for_token(url: str, token: str, database: str) -> CassandraStore:
    """Return the store of an `astra://` URL without a token, for a caller's token, not connected yet.

    `database` goes before the one that the URL names; without either the token must open exactly one.
    StoreRefused, StoreUnavailable.
    """
    target = parse(url, token=token, database=database or urlsplit(url).hostname or UNKNOWN)
    if "wait=" not in url:
        target = replace(target, wait=TENANT_WAIT)
    if target.database == UNKNOWN:
        target = replace(target, database=await DevOps(target).only_database())
    return CassandraStore(target)


def template(url: str) -> CassandraStore:
    """Return what stands for the stores of all tokens, never opened; StoreRefused for an unusable URL."""
    return CassandraStore(parse(url, token=UNKNOWN, database=urlsplit(url).hostname or UNKNOWN))
