import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from deploy.cassandra.cluster import Node
from persistence.cassandra import CassandraStore
from persistence.errors import AlreadyExists, LeaseLost, StoreUnavailable
from persistence.store import Document, Enqueue, Finish, Insert, Job, Key, Replace
from tests.cluster.conftest import revive

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WRITERS = 50
PACE = 1.0
"""Seconds between the writes of a writer: three nodes share two cores here."""


@dataclass
class Writing:
    """Writers that add messages to ten threads, and one that counts, until `stop` is set."""

    store: CassandraStore
    project: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: dict[str, list[str]] = field(default_factory=dict)
    counted: int = 0
    slowest: float = 0.0
    failures: int = 0
    recent: int = 0

    async def run(self, writer: int) -> None:
        thread = f"thread_{writer % 10}"
        number = 0
        while not self.stop.is_set():
            id = f"msg_{writer}_{number}"
            await self._until_done(Insert(Key(self.project, "messages", id), {"n": number}, parent=thread))
            self.acknowledged.setdefault(thread, []).append(id)
            self.recent += 1
            number += 1
            await asyncio.sleep(PACE)

    async def count(self) -> None:
        """Increment a counter repeatedly, as a client that retries."""
        key = Key(self.project, "counters", "counter")
        while not self.stop.is_set():
            document = await self._get(key)
            try:
                await self.store.write(Replace(document, value={"count": document.value["count"] + 1}))
            except StoreUnavailable:
                after = await self._get(key)  # was it written or not?
                self.counted += after.value["count"] - document.value["count"]
            else:
                self.counted += 1

    async def _get(self, key: Key) -> Document:
        while True:
            try:
                document = await self.store.get(key)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                assert document is not None
                return document

    async def _until_done(self, operation: Insert) -> None:
        began = time.monotonic()
        while True:
            try:
                await self.store.write(operation)
            except StoreUnavailable:
                self.failures += 1
                await asyncio.sleep(0.05)
                continue
            except AlreadyExists:  # an attempt that failed was written after all
                assert self.failures
            self.slowest = max(self.slowest, time.monotonic() - began)
            return

    async def progress(self, more: int, seconds: float = 60.0) -> None:
        """Wait until that many more writes are acknowledged."""
        wanted, deadline = self.recent + more, time.monotonic() + seconds
        while self.recent < wanted:
            assert time.monotonic() < deadline, f"{self.recent} of {wanted} writes"
            await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Check that every acknowledged message exists once, in its list and by its id."""
        for thread, acknowledged in self.acknowledged.items():
            kept: list[str] = []
            while True:
                page = await self.store.page(
                    self.project, "messages", thread, order="asc", limit=100, after=kept[-1] if kept else None
                )
                kept += [document.id for document in page.documents]
                if not page.has_more:
                    break
            assert len(kept) == len(set(kept))
            assert set(acknowledged) <= set(kept)
        for id in [ids[-1] for ids in self.acknowledged.values()]:
            assert await self.store.get(Key(self.project, "messages", id)) is not None
        document = await self.store.get(Key(self.project, "counters", "counter"))
        assert document is not None
        assert document.value["count"] == self.counted


@asynccontextmanager
async def writing_to(store: CassandraStore, project: str) -> AsyncIterator[Writing]:
    """Run writers meanwhile; check in the end what was acknowledged."""
    await store.write(Insert(Key(project, "counters", "counter"), {"count": 0}))
    writing = Writing(store, project)
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(writing.run(writer))
        group.create_task(writing.count())
        yield writing
        writing.stop.set()
    await writing.check()
    print(f"slowest write {writing.slowest:.2f} s, {writing.failures} retried, {writing.recent} acknowledged")
    assert writing.slowest < 10


async def test_killing_a_node_loses_no_acknowledged_write_and_the_node_is_used_again(
    store: CassandraStore, project: str, all_up: list[Node]
) -> None:
    async with writing_to(store, project) as writing:
        await writing.progress(200)
        all_up[1].kill(signal.SIGKILL)
        await writing.progress(300)
        await asyncio.to_thread(revive, all_up[1])
        await writing.progress(200)
        await until_used(store, all_up[1])


async def test_a_node_that_hangs_for_twenty_seconds_loses_no_acknowledged_write(
    store: CassandraStore, project: str, all_up: list[Node]
) -> None:
    async with writing_to(store, project) as writing:
        await writing.progress(200)
        all_up[2].kill(signal.SIGSTOP)
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                await writing.progress(20, 15)
        finally:
            all_up[2].kill(signal.SIGCONT)
        await writing.progress(200)


async def until_used(store: CassandraStore, node: Node) -> None:
    """Wait until the driver considers a node up, and the node answers."""
    deadline = time.monotonic() + 60
    session = store.connection.session
    while True:
        [host] = [each for each in session.cluster.metadata.all_hosts() if each.address == node.address]
        if host.is_up:
            query = "SELECT release_version FROM system.local"
            assert await asyncio.to_thread(session.execute, query, host=host)
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def finished(store: CassandraStore, job: Job) -> str:
    """Finish a job, retrying until that is acknowledged; return its id."""
    while True:
        try:
            await store.write(Finish(job))
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        except LeaseLost:  # an attempt that failed was written after all
            break
        else:
            break
    return job.id


async def test_jobs_continue_while_a_node_is_down(
    store: CassandraStore, project: str, all_up: list[Node]
) -> None:
    kind = f"kind-{project}"
    jobs = [Job(project, kind, f"run_{number}", due=time.time()) for number in range(30)]
    await store.write(*(Enqueue(job) for job in jobs))
    all_up[0].kill(signal.SIGKILL)
    other = CassandraStore(store.target)
    await other.open()
    done: list[str] = []
    deadline = time.monotonic() + 60
    while len(done) < 30:
        for owner in (store, other):
            with contextlib.suppress(StoreUnavailable):  # a worker polls again after a failed poll
                taken = await owner.take_jobs(kind, "worker", 2, 5)
                done += [await finished(owner, job) for job in taken]
        assert time.monotonic() < deadline
    assert sorted(done) == sorted(job.id for job in jobs)
    await other.close()
