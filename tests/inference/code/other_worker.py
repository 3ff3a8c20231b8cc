"""A worker in a process of its own: `python -m tests.inference.code.other_worker URL PROJECT CONTAINER CODE`.

Prints what the code prints, then the status of its end.
"""

import asyncio
import sys

from inference.code.outputs import Text
from persistence.engines import open_store
from tests.inference.code.sandboxes import worker_over


async def main(url: str, project: str, container: str, code: str) -> None:
    store = open_store(url)
    await store.open()
    async with worker_over(store, project) as worker:
        used = await worker.containers.records.use(project, container)
        result = await worker.containers.run(
            used, code, lambda one: print(one.text if isinstance(one, Text) else "", end="", flush=True)
        )
        print(result.status, flush=True)
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
