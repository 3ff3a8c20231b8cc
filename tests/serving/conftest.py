from collections.abc import Iterator

import httpx
import pytest

from tests.server import Server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """A client that sends what the SDK would not."""
    with httpx.Client(base_url=server.url, headers={"Authorization": "Bearer any"}, timeout=30) as client:
        yield client
