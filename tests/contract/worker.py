"""A process of its own that uses a store: `python -m … ROLE URL PROJECT KIND NAME COUNT`.

It prints a line for everything that the store acknowledged.
"""

import asyncio
import sys
import time

from persistence import open_store
from persistence.retry import update_with_retry
from persistence.store import Document, Enqueue, Finish, Job, Key, Replace, Store
from tests.contract.samples import List


async def write(store: Store, project: str, kind: str, name: str, count: int) -> None:
    """Add `count` messages, ten at a time, each with a job and a change to a counter of all."""
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        messages = List(store, project, "messages", "thread_1")
        for number in numbers:
            id = f"{name}_{number}"
            await store.write(messages.insert(id), Enqueue(Job(project, kind, id, due=time.time())))
            print(id, flush=True)

    await asyncio.gather(*(one_after_the_other() for _ in range(10)))


async def count(store: Store, project: str, kind: str, name: str, count: int) -> None:
    """Add one to a shared counter, `count` times."""

    def increment(document: Document) -> Replace:
        return Replace(document, value={"count": document.value["count"] + 1})

    for _ in range(count):
        await update_with_retry(store, Key(project, "counters", "counter"), increment)
        print(name, flush=True)


async def work(store: Store, project: str, kind: str, name: str, count: int) -> None:
    """Take and finish jobs until `count` of them are done by anybody, told by the last one's id."""
    idle = 0
    while idle < 20:
        jobs = await store.take_jobs(kind, name, 60, 5)
        for job in jobs:
            await store.write(Finish(job))
            print(job.id, flush=True)
        idle = 0 if jobs else idle + 1
        await asyncio.sleep(0.01)


async def migrate(store: Store, project: str, kind: str, name: str, count: int) -> None:
    """Nothing beyond what every worker does first."""
    print(name, flush=True)


async def main(role: str, url: str, project: str, kind: str, name: str, number: str) -> None:
    store = open_store(url)
    await store.migrate()
    await store.open()
    roles = {"write": write, "count": count, "work": work, "migrate": migrate}
    await roles[role](store, project, kind, name, int(number))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
