"""One sandbox as the server sees it: a process that runs code and holds files, and is believed nothing."""

import asyncio
import contextlib
import json
import os
import signal
import struct
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal

from inference.code.driver import Driver, SandboxUnavailable
from inference.code.limits import Limits
from inference.code.watch import descendants, shared_memory, usage
from persistence.types import JSON

LENGTHS = struct.Struct("!II")
PIECE = 256 * 1024
LARGEST_HEADER = 1024 * 1024
START_SECONDS = 60.0
REQUEST_SECONDS = 30.0
"""Seconds for a request about a file."""

INTERRUPT_SECONDS = 5.0
"""Seconds that code has after an interrupt, before its kernel is killed."""

WATCH_SECONDS = 0.2
"""Between two looks at what the processes use."""

Status = Literal["ok", "error", "timeout", "memory", "files", "died"]


@dataclass(frozen=True, slots=True)
class Text:
    """Something that the code printed, or its error."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the code showed."""

    content_type: str
    content: bytes


Output = Text | Image


@dataclass(frozen=True, slots=True)
class File:
    """A file in the sandbox's folder; `changed` are nanoseconds since the epoch."""

    path: str
    size: int
    changed: int


REASONS: dict[Status, str] = {
    "timeout": "the code took too long",
    "memory": "the code used too much memory",
    "files": "the code wrote too many files",
    "died": "the sandbox ended",
}


class SandboxLost(Exception):
    """The sandbox ended, with all that was in it; the text says why."""


class Kernel:
    """Runs code in one sandbox, one call after another; variables stay between the calls.

    After SandboxLost, start another one.
    """

    def __init__(self, driver: Driver, limits: Limits, number: int) -> None:
        self._driver = driver
        self._limits = limits
        self._number = number
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._killed: Status | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._errors = b""

    @property
    def is_alive(self) -> bool:
        """Whether the sandbox runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the sandbox; raises SandboxUnavailable."""
        command = await asyncio.to_thread(self._driver.command, self._limits, self._number)
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=4 * PIECE, start_new_session=True
        )
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_errors())]
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._frame()
        except (TimeoutError, SandboxLost) as exc:
            await self.close()
            said = self._errors.decode(errors="replace").strip() or str(exc)
            raise SandboxUnavailable(f"the sandbox does not start: {said[-300:]}") from exc

    async def close(self) -> None:
        """End the sandbox and all in it."""
        inside = self.processes()
        process, self._process = self._process, None
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # The first process of a namespace of processes takes all others with it before it is gone.
            os.kill(inside[0] if inside else process.pid, signal.SIGKILL)
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                await self._drain(process)
        except TimeoutError:
            process.kill()
            await self._drain(process)

    async def _drain(self, process: Process) -> None:
        """Wait for the end of the process and of its streams: what is not read keeps a pipe open."""
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.close()
        async with self._reading:
            while await process.stdout.read(PIECE):
                pass
        await process.wait()

    # --- code ---

    async def run(self, code: str, on_output: Callable[[Output], None]) -> Status:
        """Run code and return how it ended; `on_output` gets what it shows while it runs."""
        async with self._turn:
            self._killed = None
            self._write({"op": "run", "code": code})
            answer = asyncio.create_task(self._outputs(_Bounded(self._limits, on_output)))
            try:
                done, _ = await asyncio.wait({answer}, timeout=self._limits.seconds)
                if not done:
                    await self._interrupt(answer)
                status: Status = await answer
            finally:
                answer.cancel()
            return self._killed or status

    async def _outputs(self, outputs: "_Bounded") -> Status:
        while True:
            header, payload = await self._frame(self._limits.images)
            if "done" in header:
                return header["done"] if header["done"] in ("ok", "error") else "died"
            outputs.add(header, payload)

    async def _interrupt(self, answer: asyncio.Task[Status]) -> None:
        self._killed = "timeout"
        self._write({"op": "interrupt"})
        done, _ = await asyncio.wait({answer}, timeout=INTERRUPT_SECONDS)
        if not done:
            self._kill_code()
            done, _ = await asyncio.wait({answer}, timeout=START_SECONDS)
        if not done:
            raise SandboxLost("the code took too long and could not be stopped")

    # --- the processes ---

    async def _watch(self) -> None:
        """End code that uses too much; there are other bounds, but none on all its processes together."""
        while self.is_alive:
            await asyncio.sleep(WATCH_SECONDS)
            if not (inside := self.processes()):
                continue
            used = usage(inside)
            if used.files > self._limits.files:
                self._killed = "files"
                await self.close()  # a folder of so many files is not worth keeping
            elif used.memory > self._limits.memory < shared_memory(inside):
                self._killed = "memory"
                self._kill_code()

    def processes(self) -> list[int]:
        """Return the processes in the sandbox, the first of which is bubblewrap's own, then the bridge."""
        return [] if self._process is None else descendants(self._process.pid)

    def _kill_code(self) -> None:
        """Kill all processes but the bridge, which starts another kernel."""
        for pid in self.processes()[self._driver.own_processes :]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _keep_errors(self) -> None:
        """Keep the end of what the bridge writes to its error stream."""
        assert self._process is not None  # noqa: S101
        assert self._process.stderr is not None  # noqa: S101
        while piece := await self._process.stderr.read(4096):
            self._errors = (self._errors + piece)[-4096:]

    # --- files ---

    async def put(self, path: str, pieces: AsyncIterable[bytes]) -> None:
        """Write a file; OSError if the folder is full or the path cannot be written."""
        offset = 0
        async for piece in pieces:
            for start in range(0, len(piece), PIECE):
                part = piece[start : start + PIECE]
                await self._request({"op": "put", "path": path, "offset": offset}, part)
                offset += len(part)
        if offset == 0:
            await self._request({"op": "put", "path": path, "offset": 0})

    async def files(self) -> list[File]:
        """Return the files in the folder and below it."""
        header, _ = await self._request({"op": "list"})
        return [File(str(one["path"]), int(one["size"]), int(one["changed"])) for one in header["files"]]

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """Yield a file's content."""
        offset = 0
        while True:
            _, piece = await self._request({"op": "get", "path": path, "offset": offset})
            if not piece:
                return
            offset += len(piece)
            yield piece

    async def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        await self._request({"op": "delete", "path": path})

    async def _request(self, header: JSON, payload: bytes = b"") -> tuple[JSON, bytes]:
        async with self._turn:
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    self._write(header, payload)
                    answer, content = await self._frame()
            except (TimeoutError, ConnectionError) as exc:
                await self.close()
                raise SandboxLost("the sandbox does not answer") from exc
        if answer.get("done") != "ok":
            raise OSError(str(answer.get("error", "the request failed"))[:200])
        return answer, content

    # --- frames ---

    def _write(self, header: JSON, payload: bytes = b"") -> None:
        if self._process is None or self._process.stdin is None:
            raise SandboxLost("the sandbox has ended")
        head = json.dumps(header).encode()
        self._process.stdin.write(LENGTHS.pack(len(head), len(payload)) + head + payload)

    async def _frame(self, largest: int = PIECE) -> tuple[JSON, bytes]:
        """Return the next frame of the bridge; a wrong one costs the sandbox."""
        if self._process is None or self._process.stdout is None:
            raise SandboxLost("the sandbox has ended")
        try:
            async with self._reading:
                return await read_frame(self._process.stdout, largest)
        except (asyncio.IncompleteReadError, ValueError) as exc:
            killed = self._killed
            await self.close()
            raise SandboxLost(REASONS[killed or "died"]) from exc


async def read_frame(stream: asyncio.StreamReader, largest: int) -> tuple[JSON, bytes]:
    """Return a frame; ValueError for a wrong one."""
    head, payload = LENGTHS.unpack(await stream.readexactly(LENGTHS.size))
    if head > LARGEST_HEADER or payload > largest:
        raise ValueError("a frame is too large")
    header = json.loads(await stream.readexactly(head))
    if not isinstance(header, dict):
        raise ValueError("a frame's header is not an object")  # noqa: TRY004 - of what was sent
    return header, await stream.readexactly(payload)


class _Bounded:
    """Passes outputs on up to the limits of a call."""

    def __init__(self, limits: Limits, on_output: Callable[[Output], None]) -> None:
        self._text, self._images = limits.output, limits.images
        self._on_output = on_output

    def add(self, header: JSON, payload: bytes) -> None:
        """Pass on what a frame shows, or its start."""
        if header.get("event") == "image" and len(payload) <= self._images:
            self._images -= len(payload)
            self._on_output(Image(str(header.get("type")), payload))
        elif header.get("event") in ("text", "error") and self._text > 0:
            text = str(header.get("text"))[: self._text]
            self._text -= len(text)
            self._on_output(Text(text, is_error=header["event"] == "error"))
