from collections.abc import AsyncIterator

import pytest

from inference.gateway import Gateway
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.stores import store
from tests.inference.engine.process import Process, gateway_to, process
from tests.provider import ProviderProcess

__all__ = ["store"]


@pytest.fixture
async def gateway(provider: ProviderProcess) -> AsyncIterator[Gateway]:
    gateway = gateway_to(provider.url)
    await gateway.open()
    yield gateway
    await gateway.close()


@pytest.fixture
async def worker(store: Store, gateway: Gateway) -> AsyncIterator[Process]:
    async with process(store, gateway) as worker:
        yield worker


class Asked:
    """The requests that the provider got for the script of one tag."""

    def __init__(self, provider: ProviderProcess, tag: str) -> None:
        self._provider = provider
        self.tag = tag

    def all(self) -> list[JSON]:
        return [each["body"] for each in self._provider.received(self.tag)]


@pytest.fixture
def asked(provider: ProviderProcess, tag: str) -> Asked:
    return Asked(provider, tag)
