"""Another project's requests during an attack: a GET every 20 ms and a POST every 100 ms, in a process of its own."""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

from bench.client import Connection, request
from bench.load import BenchFailed
from bench.measuring import percentile

GET_EVERY, POST_EVERY = 0.02, 0.1
CONNECTIONS = 8
MESSAGE = {"role": "user", "content": "Still there?"}
REPORT_SECONDS = 60.0
"""Seconds in which the process must report; on a busy machine it may take long to start."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds from when a request was due to its answer; `failed` are those without a good one."""

    gets: tuple[float, ...]
    posts: tuple[float, ...]
    failed: int

    def get(self, share: float) -> float:
        """Return a percentile of the GETs."""
        return percentile(self.gets, share) if self.gets else float("inf")

    def post(self, share: float) -> float:
        """Return a percentile of the POSTs."""
        return percentile(self.posts, share) if self.posts else float("inf")


class Bystander:
    """Sends requests on a fixed schedule, so that a server that stops answering is seen as slow."""

    def __init__(self, port: int, key: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_child, args=(port, key, there), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def warm(self) -> None:
        """Wait until it sends, for a second of which nothing is kept."""
        self.latencies()
        time.sleep(1)
        self.latencies()

    def latencies(self) -> Latencies:
        """Return what was measured since the last call; what still waits counts with its wait so far."""
        self._pipe.send(None)
        if not self._pipe.poll(REPORT_SECONDS):
            raise BenchFailed("the other project's requests could not be sent; see the traceback above")
        return Latencies(*self._pipe.recv())


def _child(port: int, key: str, pipe: Pipe) -> None:
    asyncio.run(_Sender(port, key, pipe).run())


class _Sender:
    def __init__(self, port: int, key: str, pipe: Pipe) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"}
        self._pipe = pipe
        self._idle: list[Connection] = []
        self._taken: dict[str, list[float]] = {"GET": [], "POST": []}
        self._waiting: dict[asyncio.Task[None], tuple[str, float]] = {}
        self._failed = 0

    async def run(self) -> None:
        """Send until the process is killed."""
        thread = await self._made("/v1/threads", {})
        get = request("GET", f"/v1/threads/{thread}", headers=self._headers)
        post = request("POST", f"/v1/threads/{thread}/messages", MESSAGE, self._headers)
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._report)
        await asyncio.gather(
            self._regularly("GET", get, GET_EVERY), self._regularly("POST", post, POST_EVERY)
        )

    async def _made(self, path: str, body: Any) -> str:
        async with Connection(self._port) as connection:
            return str((await connection.send(request("POST", path, body, self._headers))).json()["id"])

    async def _regularly(self, kind: str, data: bytes, every: float) -> None:
        due = time.monotonic()
        while True:
            task = asyncio.create_task(self._one(kind, data, due))
            self._waiting[task] = (kind, due)
            task.add_done_callback(self._waiting.pop)
            due += every
            await asyncio.sleep(due - time.monotonic())

    async def _one(self, kind: str, data: bytes, due: float) -> None:
        try:
            connection = self._unused() or await Connection(self._port).open()
            answer = await connection.send(data)
        except OSError:
            self._failed += 1
            return
        self._failed += answer.status != 200
        self._taken[kind].append(1000 * (time.monotonic() - due))
        if len(self._idle) < CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def _unused(self) -> Connection | None:
        """Return an open connection that no request uses, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
        return None

    def _report(self) -> None:
        """Answer the parent."""
        self._pipe.recv()
        now = time.monotonic()
        waiting = list(self._waiting.values())
        gets, posts = (
            (*self._taken[kind], *(1000 * (now - due) for each, due in waiting if each == kind))
            for kind in ("GET", "POST")
        )
        self._pipe.send((gets, posts, self._failed))
        self._taken, self._failed = {"GET": [], "POST": []}, 0
