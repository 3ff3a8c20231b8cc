"""One sandbox as the server sees it: a process that runs code and holds files, and is not trusted."""

import asyncio
import contextlib
import json
import os
import signal
import struct
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass

from inference.code.driver import Driver, SandboxUnavailable
from inference.code.limits import Limits
from inference.code.outputs import REASONS, Image, Output, Status, Text
from inference.code.watch import descendants, die_first, lower_priority, shared_memory, usage
from persistence.types import JSON

LENGTHS = struct.Struct("!II")
PIECE = 256 * 1024
LARGEST_HEADER = 64 * 1024
LARGEST_LIST = 32 * 1024 * 1024
START_SECONDS = 60.0
REQUEST_SECONDS = 30.0
"""Seconds for a request about a file."""

INTERRUPT_SECONDS = 5.0
"""Seconds that code has after an interrupt, before its kernel is killed."""

WATCH_SECONDS = 0.2
"""Between two looks at what the processes use."""

SILENT_LOOKS = 20
"""Looks in a row without a frame of the bridge after which it is asked whether it is there."""

LOST_LOOKS = 60
"""Looks in a row without a frame, nor an answer, after which the sandbox is ended: the bridge hangs."""

MANY_PROCESSES = 12
"""Above this number a sandbox's processes get a lower priority."""

LOOKS = 2
"""Looks in a row that have to find too many processes before their code is killed."""

LOOKS_WHEN_KILLED = 20
"""Looks in a row after which killing the code has not helped, and the sandbox is ended."""

CUT_OFF = "\n[The output is cut off here: it is too long.]\n"

ERROR = 16 * 1024
"""Characters of an error."""


@dataclass(frozen=True, slots=True)
class File:
    """A file in the sandbox's folder; `changed` are nanoseconds since the epoch, also of its name or mode."""

    path: str
    size: int
    changed: int


class SandboxLost(Exception):
    """The sandbox ended, with all that was in it; the text says why."""


class Kernel:
    """Runs code in one sandbox, one call after another; variables stay between the calls.

    `number` is one that no other sandbox of the machine has. `on_end` is called once, when the sandbox has
    ended. After SandboxLost, start another one.
    """

    def __init__(
        self, driver: Driver, limits: Limits, number: int, on_end: Callable[[], None] | None = None
    ) -> None:
        self._driver = driver
        self._limits = limits
        self._number = number
        self._on_end = on_end
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._killed: Status | None = None
        self._silent_looks = 0
        self._errors_read: asyncio.Task[None] | None = None
        self._errors = b""

    @property
    def is_alive(self) -> bool:
        """Whether the sandbox runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the sandbox; raises SandboxUnavailable."""
        command = await asyncio.to_thread(self._driver.command, self._limits, self._number)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=4 * PIECE, start_new_session=True
            )
            self._errors_read = asyncio.create_task(self._keep_errors())
            async with asyncio.timeout(START_SECONDS):
                await self._frame()
        except (TimeoutError, SandboxLost, OSError) as exc:
            await self.close()
            said = self._errors.decode(errors="replace").strip() or str(exc)
            raise SandboxUnavailable(f"the sandbox does not start: {said[-300:]}") from exc
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """End the sandbox and all in it."""
        inside = self.processes()
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # The first process of a namespace of processes takes all others with it before it is gone.
            os.kill(inside[0] if inside else process.pid, signal.SIGKILL)
        try:
            await self._wait_for_end(process)
        finally:
            if self._on_end is not None:
                self._on_end()

    async def _wait_for_end(self, process: Process) -> None:
        """Wait until the process has ended, and remove what it may leave."""
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                await self._drain(process)
        except TimeoutError:
            process.kill()
            await self._drain(process)
        if removal := self._driver.removal(self._number):
            await (await asyncio.create_subprocess_exec(*removal, stdout=DEVNULL, stderr=DEVNULL)).wait()

    async def _drain(self, process: Process) -> None:
        """Wait for the end of the process and of its streams: what is not read keeps a pipe open."""
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.close()
        async with self._reading:
            while await process.stdout.read(PIECE):
                pass
        await process.wait()
        if self._errors_read is not None:
            await self._errors_read

    async def _keep_errors(self) -> None:
        """Keep the end of what the bridge writes to its error stream."""
        assert self._process is not None  # noqa: S101
        assert self._process.stderr is not None  # noqa: S101
        stream = self._process.stderr
        while piece := await stream.read(4096):
            self._errors = (self._errors + piece)[-4096:]

    # --- code ---

    async def run(self, code: str, on_output: Callable[[Output], None]) -> Status:
        """Run code and return how it ended; `on_output` gets what it shows while it runs.

        Code whose caller is cancelled is interrupted, and the sandbox stays usable.
        """
        cancelled = asyncio.Event()
        running = asyncio.create_task(self._run(code, on_output, cancelled))
        running.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def _run(self, code: str, on_output: Callable[[Output], None], cancelled: asyncio.Event) -> Status:
        async with self._turn:
            if cancelled.is_set():
                return "timeout"
            self._killed = None
            self._write({"op": "run", "code": code})
            answer = asyncio.create_task(self._outputs(_Bounded(self._limits, on_output)))
            ended = asyncio.create_task(cancelled.wait())
            watch = asyncio.create_task(self._watch())
            try:
                await asyncio.wait(
                    {answer, ended}, timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if not answer.done():
                    await self._interrupt(answer)
                status = await answer
                await self._check_files()
            except BaseException:
                answer.cancel()
                await self.close()  # its answers would be taken for those of the next request
                raise
            finally:
                ended.cancel()
                if self.is_alive:
                    watch.cancel()
                else:  # it may be closing what is left
                    await asyncio.wait({watch})
            if self._killed == "timeout" and status == "died":
                return "killed"
            return self._killed or status

    async def _outputs(self, outputs: "_Bounded") -> Status:
        while True:
            header, payload = await self._frame(max(self._limits.images, PIECE))
            if "done" in header:
                return header["done"] if header["done"] in ("ok", "error") else "died"
            outputs.add(header, payload)

    async def _interrupt(self, answer: asyncio.Task[Status]) -> None:
        self._killed = "timeout"
        self._write({"op": "interrupt"})
        done, _ = await asyncio.wait({answer}, timeout=INTERRUPT_SECONDS)
        if not done:
            self._write({"op": "kill"})
            done, _ = await asyncio.wait({answer}, timeout=START_SECONDS)
        if not done:
            raise SandboxLost("the code took too long and could not be stopped")

    async def _check_files(self) -> None:
        """Raise SandboxLost for too many files: else the next call would be ended for them."""
        if self._killed is None and await asyncio.to_thread(self._excess) == "files":
            raise SandboxLost(REASONS["files"])

    async def _watch(self) -> None:
        """End code that uses too much, as nothing else bounds all its processes, or a bridge that hangs."""
        over = self._silent_looks = 0
        while self.is_alive:
            self._silent_looks += 1
            if self._silent_looks == SILENT_LOOKS:
                self._write({"op": "ping"})
            reason = await asyncio.to_thread(self._excess)
            over = over + 1 if reason else 0
            if reason == "files" or over > LOOKS_WHEN_KILLED:
                self._killed = reason
                await self.close()  # a folder of so many files is not worth keeping
            elif self._silent_looks > LOST_LOOKS:
                await self.close()
            elif reason == "memory" or over == LOOKS:
                self._killed = reason
                self._write({"op": "kill"})
            await asyncio.sleep(WATCH_SECONDS)

    def _excess(self) -> Status | None:
        """Return what the processes use too much of."""
        if not (inside := self.processes()):
            return None
        die_first(inside)
        if len(inside) > MANY_PROCESSES:
            lower_priority(inside)
        used = usage(inside)
        if used.files > self._limits.files:
            return "files"
        if used.memory > self._limits.memory < shared_memory(inside):
            return "memory"
        return "processes" if used.threads >= self._limits.processes else None

    def processes(self) -> list[int]:
        """Return the processes in the sandbox, the bridge first; none if they cannot be seen."""
        if self._process is None or not self._driver.sees_processes:
            return []
        return descendants(self._process.pid)

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
        _, listed = await self._request({"op": "list"}, largest=LARGEST_LIST)
        try:
            return [File(str(path), int(size), int(changed)) for path, size, changed in json.loads(listed)]
        except (ValueError, TypeError) as exc:
            await self.close()
            raise SandboxLost(REASONS["died"]) from exc

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

    async def _request(
        self, header: JSON, payload: bytes = b"", *, largest: int = PIECE
    ) -> tuple[JSON, bytes]:
        async with self._turn:
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    self._write(header, payload)
                    answer, content = await self._frame(largest)
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
        self._process.stdin.write(frame(header, payload))

    async def _frame(self, largest: int = PIECE) -> tuple[JSON, bytes]:
        """Return the next frame of the bridge; a wrong one costs the sandbox."""
        if self._process is None or self._process.stdout is None:
            raise SandboxLost("the sandbox has ended")
        try:
            async with self._reading:
                while True:
                    header, payload = await read_frame(self._process.stdout, largest)
                    self._silent_looks = 0
                    if header.get("event") != "pong":  # one may come after the end of the code
                        return header, payload
        except (asyncio.IncompleteReadError, ValueError) as exc:
            killed = self._killed
            await self.close()
            raise SandboxLost(REASONS[killed or "died"]) from exc


def frame(header: JSON, payload: bytes = b"") -> bytes:
    """Return a frame as the bridge reads it."""
    head = json.dumps(header).encode()
    return LENGTHS.pack(len(head), len(payload)) + head + payload


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
        self._left = {"text": limits.output, "error": ERROR, "image": limits.images}
        self._cut_off: set[str] = set()
        self._on_output = on_output

    def add(self, header: JSON, payload: bytes) -> None:
        """Pass on what a frame shows, or its start."""
        match header.get("event"):
            case "image" if len(payload) <= self._left["image"]:
                self._left["image"] -= len(payload)
                self._on_output(Image(str(header.get("type")), payload))
            case "text" | "error" as event if event not in self._cut_off:
                text = payload.decode(errors="replace")
                shown = text[: self._left[event]]
                self._left[event] -= len(shown)
                if len(shown) < len(text):
                    self._cut_off.add(event)
                    shown += CUT_OFF
                self._on_output(Text(shown, is_error=event == "error"))
