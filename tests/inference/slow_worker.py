"""A worker of a slow job: `python -m tests.inference.slow_worker URL FOLDER NAME`.

It leaves a file in the folder when it is ready, and when it begins the job. It ends the job and itself once
there is a file `end`.
"""

import asyncio
import sys
from pathlib import Path

from inference.jobs import Jobs
from inference.leases import Lease
from persistence.engines import open_store
from persistence.store import Finish

LEASE = 2.0


async def main(url: str, folder: Path, name: str) -> None:
    store = open_store(url)
    await store.open()
    done = asyncio.Event()

    async def work(lease: Lease) -> None:
        (folder / f"{name} began").touch(exist_ok=False)
        while not (folder / "end").exists():
            await asyncio.sleep(0.05)
        await store.write(Finish(lease.job))
        done.set()

    jobs = Jobs(store, name, poll=0.05, lease=LEASE)
    jobs.register("k", work, concurrency=10)
    await jobs.start()
    (folder / f"{name} is ready").touch()
    await done.wait()
    await jobs.stop(5)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
