from collections.abc import Iterator

import pytest

from tests.provider import ProviderProcess
from tests.server import Server
from tests.serving.websocket.client import scripted_server

MAX_BODY = 400_000


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    limits = {"ASTROLABE_MAX_BODY": str(MAX_BODY), "ASTROLABE_KEEP_ALIVE": "1"}
    limits |= {"ASTROLABE_BODY_TIMEOUT": "1", "ASTROLABE_SEND_TIMEOUT": "1"}
    with scripted_server(tmp_path_factory.mktemp("sockets"), provider, **limits) as server:
        yield server
