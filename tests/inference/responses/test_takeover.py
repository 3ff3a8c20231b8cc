"""A worker that is lost at any write of a response: another one finishes it, once."""

import asyncio

import pytest

from handlers import responses
from inference.gateway import Gateway
from persistence.store import Document, Hold, Operation, Store
from persistence.types import JSON
from tests.contract.engines import ENGINES
from tests.inference.engine.mortal import MortalStore
from tests.inference.engine.process import script
from tests.inference.responses.worker import text_of, worker

LEASES = {"SQLiteStore": 0.4, "CassandraStore": 3.0}
ANSWER = "One two three four five six seven eight nine."


class TornBehindLease(MortalStore):
    """Dies at the `at`th write that a lease guards, when the part in the run's partition is done."""

    async def write(self, *operations: Operation) -> list[Document]:
        await self._live()
        if not any(isinstance(each, Hold) for each in operations):
            return await self._store.write(*operations)
        self.writes.append(operations)
        if len(self.writes) - 1 != self._at:
            return await self._store.write(*operations)
        conversation = [at for at, each in enumerate(operations) if _is_of_conversation(each)]
        await self._store.write(*operations[: conversation[0] if conversation else None])
        raise self._death()


def _is_of_conversation(operation: Operation) -> bool:
    document = getattr(operation, "document", None)
    key = getattr(operation, "key", None) or (document.key if document is not None else None)
    return key is not None and key.collection.startswith("conversation")


async def _survive(store: Store, gateway: Gateway, mortal: MortalStore, *, live: bool) -> None:
    """Let one worker begin a response in a conversation and die; another one finishes it."""
    lease = LEASES[type(store).__name__]
    seen: list[JSON] = []
    async with worker(mortal, gateway, lease=lease) as first:  # type: ignore[arg-type]
        conversation = await first.conversation()
        said = script({"text": ANSWER, "delay": 0.03})
        body = {"model": "m", "input": said, "conversation": conversation, "background": True, "stream": live}
        request = await responses.checked_request(first.context(), body)
        await mortal.live_through(first.follow(request, seen))
    async with worker(store, gateway, lease=lease) as second:
        response = await second.ended(request.id, 60)
        assert (response["status"], text_of(response)) == ("completed", ANSWER)
        items = await second.items(conversation)
        assert [item["role"] for item in items] == ["user", "assistant"]
        assert items[1] == response["output"][-1]
        await second.check_log(response, seen)
        assert text_of(await second.create("Go on.", conversation=conversation))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ENGINES, indirect=True)
@pytest.mark.parametrize("live", [True, False], ids=["live", "background"])
async def test_a_response_survives_the_loss_of_its_worker_at_any_write(
    store: Store, gateway: Gateway, live: bool
) -> None:
    whole = MortalStore(store)
    await _survive(store, gateway, whole, live=live)
    writes = range(len(whole.writes))
    assert writes
    mortals = [
        *(MortalStore(store, at=at, how=how) for at in writes for how in ("before", "after")),
        *(TornBehindLease(store, at=at) for at in writes),
    ]
    await asyncio.gather(*(_survive(store, gateway, mortal, live=live) for mortal in mortals))
