"""Runs code in a sandbox that another worker of this machine has, through that worker's Unix socket.

The socket is in a folder that only the server's user may enter, and a request names the worker's token, which
is in the container's state. Frames are those of the bridge. The worker answers at once with `accepted`, then
with what the code shows, and at last with `done`.
"""

import asyncio
import contextlib
import hmac
import json
import os
import shutil
import socket
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import structlog

from inference.code.driver import SandboxUnavailable
from inference.code.errors import ContainerExpired, ContainerNotFound
from inference.code.kernel import frame, read_frame
from inference.code.limits import Limits
from inference.code.outputs import Image, Output, Text
from inference.code.sessions import CodeResult, KernelMoved, OnOutput
from persistence.errors import StoreUnavailable
from persistence.store import Key
from persistence.types import JSON

ACCEPT_SECONDS = 5.0
"""Seconds in which a worker must accept a request; after that it counts as lost."""

MAX_CODE = 16 * 1024 * 1024
"""Bytes of code; arguments of calls are shorter."""

FOLDER = "astrolabe-sandboxes-"

ERRORS: dict[str, type[Exception]] = {
    "unavailable": SandboxUnavailable,
    "missing": ContainerNotFound,
    "expired": ContainerExpired,
    "moved": KernelMoved,
    "store": StoreUnavailable,
}
"""What a run there may raise, by the word of its last frame."""

log = structlog.get_logger("astrolabe.sandbox")


class WorkerLost(Exception):
    """The worker that had the sandbox does not answer: its sandboxes are lost."""


class KernelServer:
    """Runs code in this worker's sandboxes for others; `run` and `close` are given the container's key."""

    def __init__(
        self,
        run: Callable[[Key, str, OnOutput], Awaitable[CodeResult]],
        close: Callable[[Key], Awaitable[None]],
    ) -> None:
        self._run = run
        self._close = close
        self._token = b""
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._requests: set[asyncio.Task[None]] = set()

    async def open(self, token: str) -> str:
        """Listen; return the path of the socket, or "" where there can be none."""
        self._token = token.encode()
        await asyncio.to_thread(_remove_folders_of_lost_workers)
        path = ""
        try:
            self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=FOLDER))  # its mode is 0700
            path = str(self._folder / "socket")
            self._server = await asyncio.start_unix_server(self._answer, path)
        except OSError as exc:  # the file system is read-only, or the path is too long
            log.warning("sandboxes_not_shared", path=path, error=str(exc))
            return ""
        return path

    async def close(self) -> None:
        """Take no more requests, and end those that are open."""
        if self._server is not None:
            self._server.close()
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._requests.add(task)
        try:
            header, payload = await read_frame(reader, MAX_CODE)
            if hmac.compare_digest(str(header["token"]).encode(), self._token):
                writer.write(frame({"event": "accepted"}))
                await self._serve(header, payload, reader, writer)
        except EOFError:  # a new worker looks whether this one lives, or the other one is gone
            pass
        except (OSError, ValueError, KeyError) as exc:
            log.warning("sandbox_request_failed", error=str(exc))
        except Exception:  # a bug must not end the others' requests
            log.exception("sandbox_request_failed")
        finally:
            self._requests.discard(task)
            writer.close()

    async def _serve(self, header: JSON, payload: bytes, reader: StreamReader, writer: StreamWriter) -> None:
        """Do a request; cancel it if the other worker goes away."""
        key = Key(*header["key"])
        work: Awaitable[tuple[JSON, bytes]]
        if header["op"] == "close":
            work = self._closed(key)
        else:
            work = self._result(key, payload.decode(), lambda output: _write_output(writer, output))
        doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                writer.write(frame(*doing.result()))
                await writer.drain()
        finally:
            doing.cancel()
            gone.cancel()
            await asyncio.wait({doing, gone})

    async def _closed(self, key: Key) -> tuple[JSON, bytes]:
        await self._close(key)
        return {"done": "ok"}, b""

    async def _result(self, key: Key, code: str, on_output: OnOutput) -> tuple[JSON, bytes]:
        """Return the last frame: the result, or which of ERRORS there was."""
        try:
            result = await self._run(key, code, on_output)
        except tuple(ERRORS.values()) as exc:
            name = next(name for name, kind in ERRORS.items() if isinstance(exc, kind))
            return {"done": name}, str(exc).encode()
        return {"done": "ok"}, json.dumps(asdict(result)).encode()


async def run_there(holder: JSON, key: Key, code: str, on_output: OnOutput) -> CodeResult:
    """Run code in the sandbox that the worker `holder` has.

    Raises WorkerLost before the code has begun, and what the runner there raises.
    """
    async with _request(holder, {"op": "run", "key": key}, code.encode()) as reader:
        try:
            while True:
                header, payload = await read_frame(reader, Limits().images)
                if "done" in header:
                    return _result_of(header, payload, key)
                on_output(_output_of(header, payload))
        except (OSError, EOFError, ValueError):
            return CodeResult("died", notes=["the server process that had the sandbox has ended"])


async def close_there(holder: JSON, key: Key) -> None:
    """Have the worker `holder` end a container's sandbox, if it is still there."""
    with contextlib.suppress(WorkerLost, OSError, EOFError, ValueError, TimeoutError):
        async with asyncio.timeout(ACCEPT_SECONDS), _request(holder, {"op": "close", "key": key}) as reader:
            await read_frame(reader, 0)


@asynccontextmanager
async def _request(holder: JSON, header: JSON, payload: bytes = b"") -> AsyncIterator[StreamReader]:
    """Send a request to a worker, and wait until it is accepted; raise WorkerLost."""
    writer = None
    try:
        try:
            async with asyncio.timeout(ACCEPT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(holder["socket"])
                writer.write(frame({**header, "token": holder["token"]}, payload))
                await read_frame(reader, 0)
        except (OSError, EOFError, ValueError, TimeoutError) as exc:
            raise WorkerLost(str(exc)) from exc
        yield reader
    finally:
        if writer is not None:
            writer.close()


def _result_of(header: JSON, payload: bytes, key: Key) -> CodeResult:
    if header["done"] == "ok":
        return CodeResult(**json.loads(payload))
    kind = ERRORS[header["done"]]
    if kind is ContainerNotFound:
        raise ContainerNotFound(key.id)
    raise ContainerExpired if kind is ContainerExpired else kind(payload.decode())


def _write_output(writer: StreamWriter, output: Output) -> None:
    if isinstance(output, Image):
        writer.write(frame({"event": "image", "type": output.content_type}, output.content))
    else:
        text = output.text.encode(errors="surrogatepass")
        writer.write(frame({"event": "error" if output.is_error else "text"}, text))


def _output_of(header: JSON, payload: bytes) -> Output:
    if header["event"] == "image":
        return Image(header["type"], payload)
    text = payload.decode(errors="surrogatepass")
    return Text(text, is_error=header["event"] == "error")


def _remove_folders_of_lost_workers() -> None:
    """Remove the folders of workers that were killed: nobody listens on their sockets."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        path = folder / "socket"
        with contextlib.suppress(OSError):
            if folder.stat().st_uid != os.geteuid() or not path.exists():
                continue
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    shutil.rmtree(folder, ignore_errors=True)
