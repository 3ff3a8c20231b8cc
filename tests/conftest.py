from collections.abc import Iterator

import pytest

from tests.cassandra_node import cassandra_url  # noqa: F401 - a fixture
from tests.provider import ProviderProcess
from tests.server import Server

collect_ignore = ["api/sdk"]
"""Run in other environments, by api/test_sdks.py."""


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderProcess]:
    """The loopback provider, one for all tests of this process."""
    with ProviderProcess() as provider:
        yield provider


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    """A server of two workers on SQLite, one for all tests of this process; the provider is its default route."""
    folder = tmp_path_factory.mktemp("server")
    environment = {"OPENAI_API_KEY": "sk-the-operators-own-key", "OPENAI_BASE_URL": provider.url}
    with Server(folder, **environment) as server:
        yield server
