"""A worker that is lost between two transactions of a write: another one finishes its run, once."""

import asyncio
from typing import Any

import pytest

from inference.gateway import Gateway
from persistence.cassandra import CassandraStore
from tests.inference.engine.mortal import MortalStore
from tests.inference.engine.process import gateway_to
from tests.inference.engine.test_takeover import TornStory
from tests.provider import ProviderProcess

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(300)]


@pytest.fixture
async def gateway(provider: ProviderProcess) -> Any:
    gateway = gateway_to(provider.url)
    await gateway.open()
    yield gateway
    await gateway.close()


class Severed(MortalStore):
    """A store of its own that dies at a transaction, counted from the first that a lease guards."""

    def __init__(self, store: CassandraStore, at: int | None = None) -> None:
        super().__init__(store)
        self.transactions = 0
        connection = store.connection
        send = connection._send

        async def sever(statement: Any, *rest: Any) -> Any:
            if self.writes and not statement.is_idempotent:
                if self.transactions == at:
                    self.dead.set()
                self.transactions += 1
            await self._live()
            answer = await send(statement, *rest)
            await self._live()
            return answer

        connection._send = sever  # type: ignore[method-assign]


async def tell(store: CassandraStore, gateway: Gateway, name: str, at: int | None, *, live: bool) -> int:
    """The story, its first worker dying at a transaction; how many there were."""
    own = CassandraStore(store.target)
    await own.open()
    severed = Severed(own, at)
    try:
        await TornStory(store, gateway, name, live=live).tell(severed)
    finally:
        await own.close()
    return severed.transactions


@pytest.mark.parametrize("live", [True, False], ids=["live", "background"])
@pytest.mark.parametrize("name", ["plain", "tools"])
async def test_a_worker_lost_between_any_two_transactions_costs_the_run_nothing(
    store: CassandraStore, gateway: Gateway, name: str, live: bool
) -> None:
    transactions = await tell(store, gateway, name, None, live=live)
    assert transactions >= 2
    limit = asyncio.Semaphore(6)

    async def once(at: int) -> None:
        async with limit:
            await tell(store, gateway, name, at, live=live)

    await asyncio.gather(*(once(at) for at in range(transactions)))
