"""Checks large JSON bodies where they do not hold up other requests: in a thread or in a process."""

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import orjson
import structlog

from handlers.errors import BadRequest, Unavailable
from inference.batches.lines import checked_line
from inference.fair_slots import FairSlots
from inference.subprocesses import PYTHON_PATH, python_module
from serving.body_process import ASTRA, REFUSAL, Task, checked
from serving.json_frames import from_frames
from serving.lifespan import Service
from serving.request import Request
from spec.errors import InvalidRequest
from spec.operation import Body, Operation
from spec.weight import takes_long

CHECKED_IN_LOOP = 64 * 1024
"""Bytes of a body that is checked in the event loop."""

CHECKED_IN_THREAD = 20_000
"""Values of a body that is checked in a thread; Python's lock is held for up to 2 µs for each."""

SLOTS = 2
"""Bodies that are checked at the same time, one of one project."""

IDLE_SECONDS = 60.0
"""Seconds without a body after which the process ends; it takes about 100 MB, and a second to start."""

T = TypeVar("T")

log = structlog.get_logger("astrolabe.bodies")


class BodyChecker:
    """Parses JSON bodies and checks them against their operation.

    Small bodies are checked in the event loop, large ones in a thread, and those of many values in a
    process. `specs` says how `spec.edition.load` names an edition that has another name; `cache` is its
    directory. `is_astra` is true where the editions have the rules of `astra` mode.
    """

    def __init__(self, specs: Mapping[str, str], cache: Path, *, is_astra: bool = False) -> None:
        self._specs = specs
        self._arguments = (str(cache), *((ASTRA,) if is_astra else ()))
        self._in_threads = FairSlots(SLOTS)
        self._in_process = FairSlots(SLOTS)
        self._turn = asyncio.Lock()
        self._process: _BodyProcess | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def check(
        self, raw: bytes, request: Request, operation: Operation, body: Body, beside: Sequence[str] = ()
    ) -> Any:
        """Return a body as Python data; raises InvalidRequest.

        `beside` names members that are no part of the body: they are returned unchecked.
        """
        model = request.default_model
        task = Task(self._spec_of(request), operation.id, body.media, model, beside)
        return await self._check(task, raw, request, lambda: checked(raw, body, model, beside))

    async def check_line(
        self, raw: bytes, request: Request, operation: Operation, body: Body, endpoint: str
    ) -> Any:
        """Return a line of a batch for an endpoint as Python data; raises InvalidRequest."""
        task = Task(self._spec_of(request), operation.id, body.media, None, batch_endpoint=endpoint)
        return await self._check(task, raw, request, lambda: checked_line(raw, endpoint, body.check))

    async def _check(self, task: Task, raw: bytes, request: Request, check: Callable[[], Any]) -> Any:
        """Return what `check` returns, called where it holds up nothing, or in the process as `task`."""
        if len(raw) <= CHECKED_IN_LOOP:
            return check()
        async with self._in_threads.hold(request.principal.sharer):
            if not await _in_thread(lambda: takes_long(raw, CHECKED_IN_THREAD)):
                return await _in_thread(check)
        async with self._in_process.hold(request.principal.sharer), self._turn:
            return await self._check_in_process(task, raw)

    def _spec_of(self, request: Request) -> str:
        edition = request.edition.edition.name if request.edition else ""
        return self._specs.get(edition, edition)

    @property
    def life(self) -> Service:
        """The service that ends the process at a stop."""
        return Service("body checker", _nothing, self._close)

    @property
    def process_id(self) -> int | None:
        """The process, if it runs."""
        return self._process.id if self._process is not None else None

    async def _close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._end()

    async def _check_in_process(self, task: Task, raw: bytes) -> Any:
        if self._idle is not None:
            self._idle.cancel()
        try:
            if self._process is None:
                self._process = await _in_thread(lambda: _BodyProcess(self._arguments))
            process = self._process
            return await _in_thread(lambda: process.check(task, raw))
        except (OSError, EOFError) as exc:
            raise await self._lost() from exc
        finally:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)

    async def _lost(self) -> Exception:
        """Return the error of a body during which the process ended."""
        process, self._process = self._process, None
        status = await _in_thread(process.status) if process is not None else None
        if status == -signal.SIGALRM:
            return BadRequest("Invalid body: checking it takes too long.", code="invalid_value")
        log.warning("body_process_lost", status=status)
        return Unavailable(
            "The request's body could not be checked; try again.", headers={"Retry-After": "1"}
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


async def _nothing() -> None:
    """Open nothing: the process starts when it is needed."""


async def _in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns in a thread; a cancelled caller waits for its end, as it holds a slot."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await task
        raise
    finally:
        del task  # An error's traceback refers to it, and it to the error: the body would stay in memory.


class _BodyProcess:
    """A running process; its methods block, and are called by one thread at a time."""

    def __init__(self, arguments: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - a command of ours
                python_module("serving.body_process", str(theirs.fileno()), *arguments),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=PYTHON_PATH,  # none of the server's, which holds keys
                start_new_session=True,
            )
        self.id = self._process.pid
        self._connection = Connection(ours.detach())

    def check(self, task: Task, raw: bytes) -> Any:
        """Return the body; raises InvalidRequest, or OSError and EOFError where the process has ended."""
        self._connection.send_bytes(task.encode())
        self._connection.send_bytes(raw)
        return from_frames(self._frames())

    def _frames(self) -> Iterator[bytes]:
        refusal = None
        while frame := self._connection.recv_bytes():
            if frame[:1] == REFUSAL:
                refusal = InvalidRequest(*orjson.loads(frame[1:]))
            else:
                yield frame
        if refusal is not None:
            raise refusal

    def status(self) -> int:
        """Return the status of a process that has closed its socket."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return self.end()

    def end(self) -> int:
        """Kill the process, unless it has ended, and return its status."""
        self._connection.close()
        self._process.kill()
        return self._process.wait()
