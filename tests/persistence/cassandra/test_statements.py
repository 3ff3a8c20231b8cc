"""How many statements each operation of the API sends to the cluster: a table that holds.

Renewals, polls and what a process learns once (tables, kinds of jobs) are left out by doing
everything once before.
"""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from handlers import messages, threads
from inference.gateway import Gateway
from persistence.cassandra import CassandraStore
from persistence.store import Chunk, Delete, Enqueue, Insert, Job, Key, Replace
from tests.fixtures.pages import PAGE
from tests.inference.engine.process import Process, collect, gateway_to, until
from tests.inference.responses.worker import Worker, parsed
from tests.provider import ProviderProcess

pytestmark = pytest.mark.cassandra


@pytest.fixture
async def gateway(provider: ProviderProcess) -> AsyncIterator[Gateway]:
    gateway = gateway_to(provider.url)
    await gateway.open()
    yield gateway
    await gateway.close()


@pytest.fixture
async def worker(store: CassandraStore, gateway: Gateway) -> AsyncIterator[Process]:
    """Without polls and renewals, which go on at their own pace."""
    worker = Process(store, gateway)
    yield worker
    await worker.jobs.stop(0)


async def count(store: CassandraStore, act: Callable[[], Awaitable[Any]]) -> int:
    before = store.connection.sent
    await act()
    return store.connection.sent - before


async def timed_count(store: CassandraStore, act: Callable[[], Awaitable[Any]]) -> tuple[int, float]:
    began = time.monotonic()
    return await count(store, act), time.monotonic() - began


@pytest.mark.parametrize(
    ("prefix", "changes", "absent"), [("", 2, 2), ("thread_1/", 1, 2)], ids=["apart", "beside"]
)
async def test_what_the_store_sends_for_each_operation(
    store: CassandraStore, project: str, prefix: str, changes: int, absent: int
) -> None:
    parent = Insert(Key(project, "threads", "thread_1"), {"n": 1})
    [thread] = await store.write(parent)

    def message(number: int) -> Insert:
        return Insert(Key(project, "messages", f"{prefix}msg_{number}"), {"n": number}, parent="thread_1")

    await store.get(thread.key)
    counted = {"append": await count(store, lambda: store.write(message(1)))}
    for number in range(2, 60):
        await store.write(message(number))
    document = await store.get(Key(project, "messages", f"{prefix}msg_30"))
    assert document is not None
    counted["get"] = await count(store, lambda: store.get(document.key))
    counted["get nothing"] = await count(
        store, lambda: store.get(Key(project, "messages", f"{prefix}msg_none"))
    )
    counted["first page"] = await count(store, lambda: store.page(project, "messages", "thread_1"))
    counted["a later page"] = await count(
        store, lambda: store.page(project, "messages", "thread_1", after=f"{prefix}msg_30", order="asc")
    )
    [changed] = await store.write(Replace(document, value={"n": 0}))
    counted["replace"] = await count(store, lambda: store.write(Replace(changed, value={"n": -1})))
    last = await store.get(document.key)
    assert last is not None
    counted["delete"] = await count(store, lambda: store.write(Delete(last)))
    assert counted == {
        "append": changes,
        "get": 1,
        "get nothing": absent,
        "first page": 1,
        "a later page": 2,
        "replace": changes,
        "delete": changes,
    }


async def test_what_the_api_sends_for_each_operation(store: CassandraStore, worker: Process) -> None:
    async def ended() -> bool:
        return not worker.jobs._running

    async def streamed() -> None:
        await collect(await worker.stream(thread["id"], assistant["id"]))
        await until(ended)

    assistant, thread = await worker.assistant(), await worker.thread()
    await worker.message(thread["id"], "Hello")
    await streamed()
    context = worker.context()
    counted = {
        "create an object": await count(store, worker.thread),
        "get an object": await count(store, lambda: threads.get_thread(context, thread["id"])),
        "append a message": await count(store, lambda: worker.message(thread["id"], "Hello")),
        "list a page": await count(store, lambda: messages.list_messages(context, thread["id"], **PAGE)),
    }
    runs = [await timed_count(store, streamed) for _ in range(5)]
    run, took = min(runs)
    print({**counted, "a plain streamed run": run}, f"{took:.2f} s")
    assert counted["create an object"] <= 2
    assert counted["get an object"] == 1
    assert counted["append a message"] <= 2
    assert counted["list a page"] <= 2
    # Three reads; two transactions and a note that start it, two that open its message, two that end
    # it; and one for each 100 ms of streamed text.
    assert run <= 10 + 10 * took


async def test_what_a_response_sends(store: CassandraStore, gateway: Gateway) -> None:
    one = Worker(store, gateway)

    async def ended() -> bool:
        return not one.jobs._running

    async def streamed(**fields: Any) -> str:
        frames = b"".join([piece async for piece in await one.stream("Hello", **fields)])
        await until(ended)
        return str(parsed(frames)[0]["response"]["id"])

    previous = await streamed()
    conversation = await one.conversation()
    await streamed(conversation=conversation)
    counted = {}
    for name, fields in (
        ("a response", {}),
        ("one that continues another", {"previous_response_id": previous}),
        ("one in a conversation", {"conversation": conversation}),
    ):
        counted[name], took = await timed_count(store, lambda fields=fields: streamed(**fields))
        assert counted[name] <= 10 + 10 * took, (counted, took)
    counted["read"] = await count(store, lambda: one.get(previous))
    print(counted)
    assert counted["read"] == 1
    await one.jobs.stop(0)


async def test_taking_one_of_many_due_jobs_looks_only_at_the_first(
    store: CassandraStore, project: str
) -> None:
    kind = f"kind-{secrets.token_hex(8)}"
    await store.write(*(Enqueue(Job(project, kind, str(number), due=0)) for number in range(40)))
    taken: list[Job] = []

    async def take() -> None:
        taken.extend(await store.take_jobs(kind, "worker", 60, 1))

    await take()
    counts = [await count(store, take) for _ in range(5)]
    assert len({job.id for job in taken}) == 6
    # The index (two partitions, around the half minute), the job, and two statements that take it.
    assert max(counts) <= 5


async def test_a_file_of_273_kb_is_ingested_in_few_statements_besides_its_chunks(
    store: CassandraStore, project: str
) -> None:
    words = [f"word{number * 7919 % 6000}" for number in range(45_000)]
    texts = [" ".join(words[at : at + 400]) for at in range(0, len(words), 400)]
    chunks = [Chunk(number, text, [0.1, number / 100, 0.3]) for number, text in enumerate(texts)]
    await store.put_chunks(project, "vs_0", "file-0", chunks[:1], {})
    sent = await count(store, lambda: store.put_chunks(project, "vs_1", "file-1", chunks, {"a": 1}))
    statements_of_chunks = -(-len(chunks) // 16) + -(-len(chunks) // 50)
    print(sent, statements_of_chunks)
    assert sent - statements_of_chunks <= 60
