import pytest
from hypothesis import HealthCheck, settings

from tests.fixtures.cassandra import cassandra_url, password_node
from tests.fixtures.clients import astra_server, http, provider, server, tag
from tests.fixtures.stores import project, sqlite_url

# Machines that run tests are shared: how long an example takes says nothing of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

__all__ = [
    "astra_server",
    "cassandra_url",
    "http",
    "password_node",
    "project",
    "provider",
    "server",
    "sqlite_url",
    "tag",
]

collect_ignore = ["api/astra", "api/sdk", "api/sdk_v1"]
"""These run in other environments, started by api/test_sdks.py and api/test_astra_assistants.py."""

ON_REQUEST = {
    "clients": "the environments of other clients are for `make test-clients`",
    "compliance": "OpenResponses' tests are for `make test-compliance`",
    "cluster": "three nodes are for `make test-cluster`",
}
"""Marks of tests that run only with `-m MARK`, because of what they need."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what runs on request only, unless it was requested."""
    for mark, reason in ON_REQUEST.items():
        if mark in (config.option.markexpr or ""):
            continue
        for item in items:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))
