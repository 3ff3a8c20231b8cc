"""Applications with OpenAI's newest SDK against a live gunicorn of two workers on Cassandra.

What the SDKs differ in is before the store: `tests/api/test_sdks.py` has the others.
"""

from collections.abc import Iterator

import pytest

from tests.api import test_sdks
from tests.provider import ProviderProcess
from tests.server import Server


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess, cassandra_url: str
) -> Iterator[Server]:
    """In place of the one on SQLite."""
    folder = tmp_path_factory.mktemp("server-on-cassandra")
    environment = {
        "ASTROLABE_STORE": cassandra_url.replace("/t_", "/api_"),
        "OPENAI_API_KEY": "sk-the-operators-own-key",
        "OPENAI_BASE_URL": provider.url,
    }
    with Server(folder, workers=2, port=None, **environment) as server:
        yield server


@pytest.mark.cassandra
@pytest.mark.server
@pytest.mark.timeout(300)
def test_the_sdk_finds_openais_api_on_cassandra(server: Server) -> None:
    test_sdks.test_the_sdk_finds_openais_api("3", server)
