"""A worker whose job kills it: `python -m tests.inference.killed_worker URL ID`."""

import asyncio
import os
import signal
import sys

from inference.jobs import Jobs
from inference.leases import Lease
from persistence.engines import open_store


async def main(url: str, id: str) -> None:
    store = open_store(url)
    await store.open()

    async def die(lease: Lease) -> None:
        if lease.job.id == id:
            os.kill(os.getpid(), signal.SIGKILL)

    jobs = Jobs(store, f"worker {os.getpid()}", poll=0.02, lease=0.3)
    jobs.register("k", die, concurrency=10)
    await jobs.start()
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
