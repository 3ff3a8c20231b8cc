"""A process that writes a content and stops in its midst, until it is killed."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from persistence.cassandra import CassandraStore
from persistence.cassandra.contents import PIECE, STRIPE
from persistence.cassandra.url import parse


async def main(url: str, project: str, id: str, shift: str) -> None:
    store = CassandraStore(parse(url), lambda: time.time() + float(shift))
    await store.open()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(STRIPE + 8):
            yield b"x" * PIECE
        sys.stdout.write("in the midst\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    await store.write_content(project, id, pieces())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
