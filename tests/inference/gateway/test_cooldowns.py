"""Cooldowns that workers share through the store."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.gateway import Gateway
from inference.gateway.routing import cooldowns
from inference.gateway.routing.cooldowns import Cooldown, Cooldowns, stored_cooldowns
from inference.gateway.routing.routes import Route, Routes
from inference.gateway.routing.targets import Target
from persistence.errors import StoreUnavailable
from persistence.store import Document, Key, Operation, Store
from persistence.types import JSON
from tests.contract.engines import ENGINES
from tests.counting import CountingStore
from tests.fixtures.stores import store as sqlite
from tests.fixtures.stores import store_at
from tests.provider import ProviderProcess

__all__ = ["sqlite"]


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with store_at(request.getfixturevalue(f"{request.param}_url")) as store:
        yield store


async def test_what_one_worker_cools_down_all_leave_alone(store: Store, tag: str) -> None:
    one, two = Cooldowns(store), Cooldowns(store)
    one.start(f"p/{tag}", 60, "rate_limit")
    await one.written()
    assert two.of(f"p/{tag}") is None
    await two.refresh()
    assert two.of(f"p/{tag}") == one.of(f"p/{tag}")
    two.lift(f"p/{tag}")
    await two.written()
    await one.refresh()
    assert one.of(f"p/{tag}") is None


async def test_cooldowns_that_begin_at_once_in_many_workers_are_all_kept(store: Store, tag: str) -> None:
    workers = [Cooldowns(store) for _ in range(6)]
    for number, worker in enumerate(workers):
        worker.start(f"{number}/{tag}", 60, "server_error")
    await asyncio.gather(*(worker.written() for worker in workers))
    assert {key for key in await stored_cooldowns(store) if key.endswith(tag)} == {
        f"{number}/{tag}" for number in range(6)
    }


async def test_a_cooldown_that_another_worker_has_written_is_not_written_again(sqlite: Store) -> None:
    counting = CountingStore(sqlite)
    for _ in range(4):
        worker = Cooldowns(counting)
        worker.start("p/m", 60, "server_error")
        await worker.written()
    assert counting.calls["write"] == 1


async def test_cooldowns_end_and_are_bounded(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooldowns, "MOST", 3)
    worker = Cooldowns(sqlite)
    for number in range(5):
        worker.start(f"p/{number}", 60 + number, "server_error")
    worker.start("p/over", -1, "server_error")
    worker.start("p/" + "x" * 300, 60, "server_error")
    await worker.written()
    assert set(await stored_cooldowns(sqlite)) == set(worker.all()) == {"p/2", "p/3", "p/4"}


async def test_a_worker_goes_on_with_its_own_cooldowns_while_the_store_is_away(sqlite: Store) -> None:
    class Away(CountingStore):
        is_away = True

        async def get(self, key: Key) -> Document | None:
            if self.is_away:
                raise StoreUnavailable("away")
            return await self.store.get(key)

        async def write(self, *operations: Operation) -> list[Document]:
            return await self.store.write(*operations)

    store = Away(sqlite)
    worker = Cooldowns(store)
    worker.start("p/m", 60, "rate_limit")
    await worker.written()
    await worker.refresh()
    assert worker.of("p/m") is not None
    store.is_away = False
    await worker.refresh()
    await worker.written()
    assert "p/m" in await stored_cooldowns(sqlite)


def said(tag: str) -> JSON:
    script = {"tag": tag, "by_model": {"a": [{"fail": {"status": 429, "retry_after": 90}}]}}
    return {"model": "m", "messages": [{"role": "user", "content": f"script: {json.dumps(script)}"}]}


async def test_requests_of_two_workers_share_a_cooldown_and_cost_no_call_of_the_store(
    sqlite: Store, provider: ProviderProcess, tag: str
) -> None:
    targets = (
        Target("p", "openai", "a", base_url=provider.url, attempts=1),
        Target("q", "openai", "b", base_url=provider.url, attempts=1, weight=0),
    )
    stores = [CountingStore(sqlite), CountingStore(sqlite)]
    workers = [Gateway(Routes({"m": Route("m", "chat", targets)}), store=store) for store in stores]
    for worker in workers:
        await worker.open()
    try:
        await workers[0].complete(said(tag))
        await workers[0].deployments.cooldowns.written()
        await workers[1].deployments.cooldowns.refresh()
        for store in stores:
            store.calls.clear()
        for _ in range(20):
            await workers[1].complete(said(tag))
        assert [record["body"]["model"] for record in provider.received(tag)] == ["a"] + ["b"] * 21
        assert stores[1].calls["write"] == 0
        assert stores[1].calls["get"] <= 2, "only the worker's own look, every two seconds"
    finally:
        for worker in workers:
            await worker.close()


async def test_without_a_choice_of_deployments_no_worker_reads_cooldowns(
    sqlite: Store, tmp_path: Path
) -> None:
    store = CountingStore(sqlite)
    gateway = Gateway(Routes.from_environment("sk", "http://127.0.0.1:1/v1"), store=store)
    await gateway.open()
    await asyncio.sleep(0.05)
    await gateway.close()
    assert store.calls.total() == 0


def test_a_cooldown_ends_by_itself() -> None:
    known = Cooldowns()
    known.start("p/m", 60, "server_error")
    assert known.of("p/m") == Cooldown(pytest.approx(time.time() + 60, abs=1), "server_error")
    known.start("p/m", -0.1, "server_error")
    assert known.of("p/m") is None
    assert not known.all()
