"""The server's side of the parser process, which starts when needed and ends when idle."""

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
from typing import IO

import structlog

from inference.errors import DocumentError
from inference.fair_slots import FairSlots
from inference.parsing.chunking import Chunking
from inference.subprocesses import PYTHON_PATH, python_module
from persistence.types import JSON

MEMORY_BYTES = 2 * 1024**3
"""Bytes of address space for one file's process, about 0.5 GB of which are in use from the start."""

PARSER_MEMORY = 2 * 1024**3
"""Bytes that all files' processes of one worker may take together, beyond what they share."""

CPU_SECONDS = 60
"""CPU time for one file; its wall-clock time is limited to twice as much."""

IDLE_SECONDS = 60.0
"""Seconds without a file after which the process ends; it takes about 100 MB, and a second to start."""

MAX_CONCURRENT = 4
"""Files that one worker parses at the same time, two of one project."""

MAX_SUFFIX = 16
MAX_CHARSET = 64

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text and its chunks, kept in an unnamed temporary file."""

    file: IO[bytes]
    size: int
    spans: tuple[tuple[int, int], ...]

    def chunks(self, start: int, stop: int) -> list[str]:
        """Return the texts of the chunks from `start` up to `stop`."""
        fd = self.file.fileno()
        return [os.pread(fd, end - begin, begin).decode() for begin, end in self.spans[start:stop]]

    def text(self) -> str:
        """Return the whole text."""
        return os.pread(self.file.fileno(), self.size, 0).decode()

    def close(self) -> None:
        """Delete the temporary file."""
        self.file.close()


class Sandbox:
    """Parses files and splits them into chunks, in a process with limits on time and memory.

    `memory` is how many bytes all files that are parsed at the same time may take together.
    """

    def __init__(self, memory: int = PARSER_MEMORY) -> None:
        self._memory = memory
        self._slots = FairSlots(MAX_CONCURRENT)
        self._starting = asyncio.Lock()
        self._parser: _ParserProcess | None = None
        self._retired: set[_ParserProcess] = set()
        self._active = 0
        self._idle: asyncio.TimerHandle | None = None

    async def parse(
        self,
        sharer: str,
        source: AsyncIterator[bytes],
        filename: str,
        chunking: Chunking,
        *,
        charset: str = "",
        replaces: bool = False,
    ) -> Parsed:
        """Return the text of a file and its chunks; raise DocumentError if it has no readable text.

        `sharer` is the project, or the tenant, in whose turn it is parsed. `charset` is what the upload of
        a text declared. If it `replaces`, wrong bytes of a text become U+FFFD; else the text is refused.
        """
        request = {
            "suffix": PurePosixPath(filename).suffix.lower()[:MAX_SUFFIX],
            "charset": charset[:MAX_CHARSET],
            "replaces": replaces,
            "size": chunking.size,
            "overlap": chunking.overlap,
        }
        async with self._slots.hold(sharer):
            self._active += 1
            try:
                return await self._parse(sharer, source, request)
            finally:
                self._active -= 1
                self._end_later()

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        parsers = [*self._retired, *([self._parser] if self._parser else [])]
        await asyncio.gather(*(parser.close() for parser in parsers))

    async def _parse(self, sharer: str, source: AsyncIterator[bytes], request: JSON) -> Parsed:
        with tempfile.TemporaryFile(buffering=0) as spool:
            async for piece in source:
                await asyncio.to_thread(spool.write, piece)
            spool.seek(0)
            result = tempfile.TemporaryFile()  # noqa: SIM115  Parsed closes it.
            try:
                parser = await self._running()
                reply = await parser.request(request, spool.fileno(), result.fileno())
                self._slots.charge(sharer, reply["cpu"])
                return _parsed(reply, result)
            except BaseException:
                result.close()
                raise

    async def _running(self) -> "_ParserProcess":
        async with self._starting:
            if self._parser is not None and not self._parser.alive:
                self._retire(self._parser)
            if self._parser is None:
                self._parser = await _ParserProcess.start(self._memory)
            return self._parser

    def _end_later(self) -> None:
        """End the process after IDLE_SECONDS without a file."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self._parser is not None and not self._active:
            self._retire(self._parser)

    def _retire(self, parser: "_ParserProcess") -> None:
        """Let a process finish its files and end."""
        self._parser = None
        parser.close_requests()
        self._retired = {retired for retired in self._retired if retired.alive} | {parser}


def _parsed(reply: JSON, result: IO[bytes]) -> Parsed:
    if "code" in reply:
        raise DocumentError(reply["message"], code=reply["code"])
    if "signal" in reply:
        raise _error_for_signal(reply["signal"])
    offsets = array("q")
    offsets.frombytes(os.pread(result.fileno(), 16 * reply["chunks"], reply["text"]))
    return Parsed(result, reply["text"], tuple(zip(offsets[::2], offsets[1::2], strict=True)))


def _error_for_signal(number: int) -> DocumentError:
    """Return why a file's process ended without a reply."""
    if number in (signal.SIGALRM, signal.SIGXCPU):
        return DocumentError(f"The file takes longer than {CPU_SECONDS} s to be read.", code="invalid_file")
    return DocumentError("Reading the file needs more memory than this server allows.", code="invalid_file")


class _ParserProcess:
    """A running parser process and its open requests."""

    def __init__(self, process: Process, requests: socket.socket) -> None:
        self._process = process
        self._requests = requests
        self._numbers = itertools.count()
        self._replies: dict[int, asyncio.Future[JSON]] = {}
        self._tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._watch()))

    @classmethod
    async def start(cls, memory: int) -> "_ParserProcess":
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *python_module("inference.parsing.parser", str(theirs.fileno()), str(memory)),
                stdin=DEVNULL,
                stdout=PIPE,
                pass_fds=(theirs.fileno(),),
                # None of the server's environment, which holds keys. Threads do not survive a fork.
                env={"OPENBLAS_NUM_THREADS": "1", **PYTHON_PATH},
                # Its own process group, so that its children can be killed with it.
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

    async def request(self, request: JSON, source: int, result: int) -> JSON:
        number = next(self._numbers)
        line = {"id": number, "memory": MEMORY_BYTES, "seconds": CPU_SECONDS, **request}
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            # Never blocks: the socket's buffer holds at most MAX_CONCURRENT lines.
            socket.send_fds(self._requests, [json.dumps(line).encode()], [source, result])
            return await asyncio.wait_for(reply, 2 * CPU_SECONDS + 30)
        except (OSError, TimeoutError) as exc:
            self.kill()
            raise DocumentError("The parser process does not answer.", code="server_error") from exc
        finally:
            del self._replies[number]

    def close_requests(self) -> None:
        """Accept no more requests; the process ends after those it has."""
        self._requests.close()

    def kill(self) -> None:
        """Kill the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        self.kill()
        await asyncio.gather(*self._tasks)

    async def _read(self) -> None:
        """Resolve the requests that the process replies to."""
        assert self._process.stdout is not None  # noqa: S101  It was opened with a pipe.
        async for line in self._process.stdout:
            reply = json.loads(line)
            if "unconfined" in reply:
                if reply["unconfined"]:
                    log.warning("parser_not_confined", missing=reply["unconfined"])
                continue
            waiting = self._replies.get(reply["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)

    async def _watch(self) -> None:
        """Fail the open requests when the process ends."""
        await self._process.wait()
        self.kill()  # its children
        self.close_requests()
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.set_exception(DocumentError("The parser process has ended.", code="server_error"))
