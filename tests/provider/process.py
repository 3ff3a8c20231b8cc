"""The provider in processes of its own."""

import asyncio
import json
import multiprocessing
import urllib.request
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Self

from persistence.types import JSON
from tests.provider.server import Provider


async def _serve(port: int, shared: bool, pipe: Connection) -> None:
    async with Provider(port, shared=shared) as provider:
        pipe.send(provider.port)
        await asyncio.Event().wait()


def _run(port: int, shared: bool, pipe: Connection) -> None:
    """Serve until the process is ended; the port is sent through `pipe`."""
    with suppress(ImportError):
        import uvloop

        uvloop.install()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, shared, pipe))


class ProviderProcess:
    """The fake provider in processes of its own, behind one port."""

    def __init__(self, port: int = 0, processes: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = []
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=_run, args=(port, processes > 1, there), daemon=True)
            process.start()
            if not here.poll(30):
                raise RuntimeError("the fake provider does not start")
            port = here.recv()
            self._processes.append(process)
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()

    def join(self) -> None:
        """Wait until they end."""
        for process in self._processes:
            process.join()

    def received(self, tag: str) -> list[JSON]:
        """The requests whose script had that tag, oldest first; with several processes, one's."""
        with urllib.request.urlopen(f"{self.root}/_requests?tag={tag}") as answer:
            return list(json.load(answer))
