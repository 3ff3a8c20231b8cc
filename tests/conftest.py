from tests.fixtures.cassandra import cassandra_url
from tests.fixtures.clients import http, provider, server, tag
from tests.fixtures.stores import project, sqlite_url

__all__ = ["cassandra_url", "http", "project", "provider", "server", "sqlite_url", "tag"]

collect_ignore = ["api/sdk"]
"""These run in other environments, started by api/test_sdks.py."""
