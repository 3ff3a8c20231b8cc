"""The server's side of the parser's process: started when needed, ended when idle."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import tempfile
from array import array
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from inference.errors import DocumentError
from inference.parsing.chunking import Chunking
from inference.subprocesses import PYTHON_PATH, python_module

MEMORY = 2 * 1024**3
"""Bytes of address space of one file's process, about 0.5 GB of which are taken from the start."""

SECONDS = 60
"""Of computing for one file; twice as long by the clock."""

IDLE = 60.0
"""Seconds without a file after which the process ends; it holds about 100 MB and starts in one."""

AT_ONCE = 2
"""Files that are parsed at once by one worker: more would compete for the same cores."""

MAX_SUFFIX = 16

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text and its chunks, kept in a nameless temporary file."""

    file: IO[bytes]
    size: int
    spans: tuple[tuple[int, int], ...]

    def chunks(self, start: int, stop: int) -> list[str]:
        """The texts of some chunks."""
        fd = self.file.fileno()
        return [os.pread(fd, end - begin, begin).decode() for begin, end in self.spans[start:stop]]

    def text(self) -> str:
        """The whole text."""
        return os.pread(self.file.fileno(), self.size, 0).decode()

    def close(self) -> None:
        """Forget the text."""
        self.file.close()


class Sandbox:
    """Has files parsed and cut in a process of their own, with limits of time and memory."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._starting = asyncio.Lock()
        self._parser: _Parser | None = None
        self._retired: set[_Parser] = set()
        self._active = 0
        self._idle: asyncio.TimerHandle | None = None

    async def parse(self, source: AsyncIterator[bytes], filename: str, chunking: Chunking) -> Parsed:
        """The text of a file and its chunks; DocumentError where there is none."""
        suffix = PurePosixPath(filename).suffix.lower()[:MAX_SUFFIX]
        async with self._slots:
            self._active += 1
            try:
                return await self._parse(source, suffix, chunking)
            finally:
                self._active -= 1
                self._rest()

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        parsers = [*self._retired, *([self._parser] if self._parser else [])]
        await asyncio.gather(*(parser.close() for parser in parsers))

    async def _parse(self, source: AsyncIterator[bytes], suffix: str, chunking: Chunking) -> Parsed:
        with tempfile.TemporaryFile(buffering=0) as spool:
            async for piece in source:
                await asyncio.to_thread(spool.write, piece)
            spool.seek(0)
            result = tempfile.TemporaryFile()  # noqa: SIM115  Parsed closes it.
            try:
                parser = await self._running()
                request = {"suffix": suffix, "size": chunking.size, "overlap": chunking.overlap}
                reply = await parser.ask(request, spool.fileno(), result.fileno())
                return _parsed(reply, result)
            except BaseException:
                result.close()
                raise

    async def _running(self) -> "_Parser":
        async with self._starting:
            if self._parser is not None and not self._parser.alive:
                self._retire(self._parser)
            if self._parser is None:
                self._parser = await _Parser.start()
            return self._parser

    def _rest(self) -> None:
        """End the process in IDLE seconds, unless another file comes."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self._parser is not None and not self._active:
            self._retire(self._parser)

    def _retire(self, parser: "_Parser") -> None:
        """Let a process end, and forget it once it has."""
        self._parser = None
        parser.hang_up()
        self._retired = {retired for retired in self._retired if retired.alive} | {parser}


def _parsed(reply: JSON, result: IO[bytes]) -> Parsed:
    if "code" in reply:
        raise DocumentError(reply["message"], code=reply["code"])
    if "signal" in reply:
        raise _ended(reply["signal"])
    offsets = array("q")
    offsets.frombytes(os.pread(result.fileno(), 16 * reply["chunks"], reply["text"]))
    return Parsed(result, reply["text"], tuple(zip(offsets[::2], offsets[1::2], strict=True)))


def _ended(number: int) -> DocumentError:
    """Why a file's process ended before it had an answer."""
    if number in (signal.SIGALRM, signal.SIGXCPU):
        return DocumentError(f"The file takes longer than {SECONDS} s to be read.", code="invalid_file")
    return DocumentError("The file needs more memory to be read than this server gives.", code="invalid_file")


class _Parser:
    """One process, and the files that it has been asked for."""

    def __init__(self, process: Process, requests: socket.socket) -> None:
        self._process = process
        self._requests = requests
        self._numbers = itertools.count()
        self._replies: dict[int, asyncio.Future[JSON]] = {}
        self._tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._watch()))

    @classmethod
    async def start(cls) -> "_Parser":
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *python_module("inference.parsing.parser", str(theirs.fileno())),
                stdin=DEVNULL,
                stdout=PIPE,
                pass_fds=(theirs.fileno(),),
                # Nothing of the server's environment, which holds keys; threads would not survive a fork.
                env={"OPENBLAS_NUM_THREADS": "1", **PYTHON_PATH},
                # A group of its own, so that its children can be ended with it.
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not any(task.done() for task in self._tasks)

    async def ask(self, request: JSON, source: int, result: int) -> JSON:
        number = next(self._numbers)
        line = {"id": number, "memory": MEMORY, "seconds": SECONDS, **request}
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            # One line in a buffer that at most AT_ONCE lines are in: it never blocks.
            socket.send_fds(self._requests, [json.dumps(line).encode()], [source, result])
            return await asyncio.wait_for(reply, 2 * SECONDS + 30)
        except (OSError, TimeoutError) as exc:
            self.kill()
            raise DocumentError("The parser's process does not answer.", code="server_error") from exc
        finally:
            del self._replies[number]

    def hang_up(self) -> None:
        """Let the process end when it has done what it was asked for."""
        self._requests.close()

    def kill(self) -> None:
        """End the process and its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        self.kill()
        await asyncio.gather(*self._tasks)

    async def _read(self) -> None:
        """Hand out the replies."""
        assert self._process.stdout is not None  # noqa: S101  It was opened with a pipe.
        async for line in self._process.stdout:
            reply = json.loads(line)
            waiting = self._replies.get(reply["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)

    async def _watch(self) -> None:
        """An error for whoever waits when the process ends."""
        await self._process.wait()
        self.kill()  # its children
        self.hang_up()
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.set_exception(DocumentError("The parser's process has ended.", code="server_error"))
