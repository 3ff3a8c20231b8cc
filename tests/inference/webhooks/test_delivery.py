import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError
from structlog.testing import capture_logs

from inference.gateway import Gateway
from inference.gateway.http.hosts import HostGuard
from inference.webhooks import delivery
from inference.webhooks.delivery import KIND, Webhooks
from inference.webhooks.registry import Registry
from persistence.store import Document, Enqueue, Operation, Store
from tests.contract.engines import ENGINES
from tests.inference.engine.mortal import MortalStore
from tests.inference.engine.process import script, until
from tests.inference.responses.worker import worker
from tests.inference.webhooks.receiver import HANGS, Receiver, receiver_at, registry

LEASES = {"SQLiteStore": 0.4, "CassandraStore": 3.0}


async def test_the_sdk_verifies_the_event_of_a_completed_response(
    store: Store, gateway: Gateway, receiver: Receiver
) -> None:
    async with worker(store, gateway, registry=registry(receiver)) as first:
        created = await first.create("hello", background=True)
        (got,) = await receiver.wait()
    event = got.event()
    assert (event.type, event.data.id, event.object) == ("response.completed", created["id"], "event")
    assert event.id.startswith("evt_")
    assert 0 <= event.created_at - created["created_at"] <= 20
    assert got.headers["content-type"] == "application/json"
    with pytest.raises(InvalidWebhookSignatureError):
        got.event("whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Rz")


async def test_each_end_of_a_response_has_its_event(
    store: Store, gateway: Gateway, receiver: Receiver
) -> None:
    ends = {
        "response.failed": {"fail": {"status": 400, "message": "Bad prompt"}},
        "response.incomplete": {"text": "a", "finish_reason": "length"},
        "response.cancelled": {"text": "word " * 400, "delay": 0.05},
    }
    async with worker(store, gateway, registry=registry(receiver)) as first:
        ids = {}
        for event, turn in ends.items():
            ids[event] = (await first.create(script(turn), background=True))["id"]
        running = await first.responses.find("p", ids["response.cancelled"])
        await first.responses.engine.cancel(running)
        got = await receiver.wait(3)
    assert {each.event().type: each.event().data.id for each in got} == ids


async def test_only_background_responses_of_the_registered_project_have_events(
    store: Store, gateway: Gateway, receiver: Receiver
) -> None:
    async with worker(store, gateway, registry=registry(receiver)) as first:
        await first.create("in the foreground")
        await first.create("not stored", store=False)
        other = await first.create("another project's", background=True, project="q")
        await first.responses.find("q", other["id"])
        mine = await first.create("mine", background=True)
        got = await receiver.wait()
    assert [each.event().data.id for each in got] == [mine["id"]]


async def test_what_is_not_answered_by_2xx_is_sent_again_under_the_same_id(
    store: Store, gateway: Gateway
) -> None:
    async with receiver_at(500, 404, 302) as receiver:
        options = {"registry": registry(receiver), "pauses": (0.1, 0.1, 1.2)}
        async with worker(store, gateway, **options) as first:
            await first.create("hello", background=True)
            got = await receiver.wait(4)
    assert len({each.id for each in got}) == 1
    assert len({each.body for each in got}) == 1
    assert int(got[3].headers["webhook-timestamp"]) > int(got[0].headers["webhook-timestamp"])
    assert all(each.event() for each in got)


async def test_an_event_is_given_up_after_the_last_retry(store: Store, gateway: Gateway) -> None:
    async with receiver_at(*[500] * 9) as receiver:
        options = {"registry": registry(receiver), "pauses": (0.1, 0.1)}
        with capture_logs() as logs:
            async with worker(store, gateway, **options) as first:
                await first.create("hello", background=True)
                await until(lambda: given_up(logs))
    assert await store.take_jobs(KIND, "test", 1.0, 10) == []
    assert len(receiver.deliveries) == 3


async def test_only_the_endpoint_that_failed_gets_the_event_again(store: Store, gateway: Gateway) -> None:
    async with receiver_at(503) as failing, receiver_at() as well:
        options = {"registry": registry(failing, well), "pauses": (0.1,)}
        async with worker(store, gateway, **options) as first:
            await first.create("hello", background=True)
            await failing.wait(2)
    assert len(well.deliveries) == 1


async def test_an_endpoint_that_hangs_holds_up_nobody(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More events than there are slots go to an endpoint that never answers."""
    monkeypatch.setattr(delivery, "CONCURRENCY", 8)
    monkeypatch.setattr(delivery, "SECONDS", 2.5)
    async with receiver_at(*[HANGS] * 99) as hanging, receiver_at() as well:
        both = registry(hanging, well)
        both = replace(both, projects={**both.projects, "q": (well.endpoint(),)})
        async with worker(store, gateway, registry=both, pauses=(60,)) as first:
            for _ in range(20):
                await first.create("hello", background=True)
            await hanging.wait(4)
            other = await first.create("of another project", background=True, project="q")
            got = await well.wait(5, seconds=2)
            assert other["id"] in [each.event().data.id for each in got]
            assert len({each.id for each in await well.wait(21)}) == 21
    assert len(hanging.deliveries) < 20


async def test_an_endpoint_at_a_private_address_is_not_called(
    store: Store, gateway: Gateway, receiver: Receiver
) -> None:
    """A public name that comes to mean a private address is refused at each delivery."""
    unlisted = Registry({"p": (receiver.endpoint(),)}, HostGuard())
    async with worker(store, gateway, registry=unlisted, pauses=()) as first:
        with capture_logs() as logs:
            await first.create("hello", background=True)
            await until(lambda: given_up(logs))
    assert receiver.deliveries == []
    (entry,) = [each for each in logs if each["event"] == "webhook_given_up"]
    assert "which this server does not call" in entry["error"]
    assert entry["url"] == receiver.url.partition("?")[0]


async def given_up(logs: Sequence[Any]) -> bool:
    return any(each["event"] == "webhook_given_up" for each in logs)


def test_nothing_is_written_for_a_project_without_webhooks(receiver: Receiver) -> None:
    webhooks = Webhooks(None, None, Registry())  # type: ignore[arg-type]
    assert webhooks.announce("p", "response.completed", "resp_1") == []


class MortalAtEvent(MortalStore):
    """Dies before or after the write that has a webhook's event in it."""

    async def write(self, *operations: Operation) -> list[Document]:
        await self._live()
        if not any(isinstance(each, Enqueue) and each.job.kind == KIND for each in operations):
            return await self._store.write(*operations)
        if self._how == "after":
            await self._store.write(*operations)
        raise self._death()


@pytest.mark.parametrize("store", ENGINES, indirect=True)
@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_worker_that_dies_at_the_end_of_a_response_costs_no_event(
    store: Store, gateway: Gateway, receiver: Receiver, how: str
) -> None:
    lease = LEASES[type(store).__name__]
    hooks, mortal = registry(receiver), MortalAtEvent(store, how=how)
    async with worker(mortal, gateway, registry=hooks, lease=lease) as first:  # type: ignore[arg-type]
        created = await first.create("hello", background=True)
        await asyncio.wait_for(mortal.dead.wait(), 20)
    async with worker(store, gateway, registry=hooks, lease=lease) as second:
        await second.ended(created["id"], 60)
        (got,) = await receiver.wait()
    assert got.event().data.id == created["id"]
