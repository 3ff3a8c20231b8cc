"""The program inside a sandbox: runs an IPython kernel and serves the server over its standard streams.

The sandbox's own Python runs this file, so it imports nothing of the server. The server trusts nothing that
it sends: it may come from the code that runs here.

A frame is the length of a JSON header and of a payload (each four bytes, big-endian), followed by both.
Requests have an `op`: `run` (code), `put` (a piece of a file), `get`, `list` and `delete`. Each is answered
by a frame with `done`; a `run` sends `text`, `image` and `error` frames before it. `interrupt`, `kill` and
`ping` may come during a `run`; only `ping` has an answer, `pong`.

Between two runs all processes of the code are stopped, so that an idle sandbox takes no CPU time.
"""

import argparse
import asyncio
import base64
import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import stat
import struct
import sys
import traceback
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

PIECE = 256 * 1024
"""Bytes of a file in one frame."""

ERROR = 16 * 1024
"""Characters of an error, which has room of its own: its last ones say what went wrong."""

NICE = 5
"""How far code stands back behind the server."""

LONGEST_PATH = 1000
"""Characters; files below the folder that have longer paths are not listed."""

CHANNELS = ("shell", "iopub", "stdin", "hb", "control")

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

LENGTHS = struct.Struct("!II")

BOUND_OUTPUT = """
def bound_output(limit):
    import sys
    shell = get_ipython()
    def bounded(write, left):
        def bounded_write(text):
            if not isinstance(text, str):
                return write(text)
            part = text[:left[0]]
            left[0] -= len(part)
            if part:
                write(part)
            return len(text)
        return bounded_write
    def start(*_):
        shell.history_manager.outputs.clear()
        left = [limit]
        for stream in (sys.stdout, sys.stderr):
            stream.write = bounded(stream.write, left)
    shell.events.register("pre_run_cell", start)
    shell.ask_exit = lambda: None
bound_output({limit})
del bound_output
"""
"""What the kernel runs first: else it keeps all that code prints in memory, for its history and to send it.

IPython wraps `write` for each cell, before this does, and removes both wrappers at the cell's end. `exit()`
does nothing: else the kernel would end during the next call.
"""

Header = dict[str, Any]
T = TypeVar("T")


def main() -> None:
    """Give up privileges, limit this process and its children, and serve the requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uid", type=int, help="run as this user; only root can")
    parser.add_argument("--system-calls", required=True, help="a seccomp program in base64, or nothing")
    parser.add_argument("--memory", type=int, required=True, help="bytes of address space of each process")
    parser.add_argument("--processes", type=int, help="processes of this user")
    parser.add_argument("--cpu", type=int, required=True, help="seconds of CPU time of each process")
    parser.add_argument("--disk", type=int, required=True, help="bytes of a file")
    parser.add_argument("--output", type=int, required=True, help="characters that a run shows")
    parser.add_argument("--images", type=int, required=True, help="bytes of an image that a run shows")
    parser.add_argument("--folder", required=True, help="the folder of the files")
    arguments = parser.parse_args()
    # The first process of a namespace gets signals from within only if it has a handler: Python has one.
    signal.signal(signal.SIGINT, lambda *_: None)
    _limit(arguments)
    asyncio.run(Bridge(Path(arguments.folder), arguments.output, arguments.images).serve())


def _limit(arguments: argparse.Namespace) -> None:
    with contextlib.suppress(OSError):  # the first to be killed if the machine runs out of memory
        Path("/proc/self/oom_score_adj").write_text("1000")
    if arguments.uid is not None:
        os.chown(arguments.folder, arguments.uid, arguments.uid)
        os.setgroups([])
        os.setgid(arguments.uid)
        os.setuid(arguments.uid)
    for name, value in (
        ("AS", arguments.memory),
        ("NPROC", arguments.processes),
        ("CPU", arguments.cpu),
        ("FSIZE", arguments.disk),
        ("NOFILE", 512),
        ("CORE", 0),
    ):
        if value is not None:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    os.umask(0o077)
    _copy_font_list()
    if arguments.system_calls:
        _filter_system_calls(base64.b64decode(arguments.system_calls))


def _filter_system_calls(instructions: bytes) -> None:
    """Let the kernel judge the system calls of this process and its children from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(code))
    set_parent_death, set_dumpable, no_new_privileges, set_filter = 1, 4, 38, 22
    version_3 = 0x20080522
    libc.capset(struct.pack("Ii", version_3, 0), bytes(24))  # nothing that children could inherit
    for call in (
        (set_parent_death, signal.SIGKILL, 0, 0, 0),  # a change of user unsets it
        (set_dumpable, 0, 0, 0, 0),  # its children cannot open its descriptors and memory
        (no_new_privileges, 1, 0, 0, 0),
        (set_filter, 2, ctypes.create_string_buffer(program), 0, 0),
    ):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the system calls cannot be filtered")


def _copy_font_list() -> None:
    """Give matplotlib the list of fonts that was made with the environment: making it takes seconds."""
    source, target = Path(sys.prefix) / "share" / "matplotlib-cache", os.environ.get("MPLCONFIGDIR")
    if target and source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)


class Bridge:
    """Serves the requests of the server one after another."""

    def __init__(self, folder: Path, output: int, images: int) -> None:
        if os.getpid() != 1:  # it kills and stops all other processes that it sees
            raise SystemExit("this is not the first process: there is no sandbox around it")
        self._folder = folder
        self._output = output
        self._images = images
        self._left = {"text": 0, "error": 0}
        self._out = sys.stdout.buffer
        self._kernel: Process
        self._client: Any = None

    async def serve(self) -> None:
        """Start the kernel, and answer requests until the server closes the stream."""
        reader = asyncio.StreamReader(limit=4 * PIECE)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        await self._start()
        self._send({"done": "started"})
        running: asyncio.Task[None] | None = None
        while (request := await _next(reader)) is not None:
            header, payload = request
            if header["op"] == "interrupt":
                self._interrupt()
            elif header["op"] == "kill":
                _signal_all(signal.SIGKILL)
            elif header["op"] == "ping":
                self._send({"event": "pong"})
            else:
                if running is not None:
                    await running
                running = asyncio.create_task(self._answer(header, payload))
                running.add_done_callback(_exit_if_failed)

    async def _answer(self, header: Header, payload: bytes) -> None:
        try:
            await getattr(self, f"_op_{header['op']}")(header, payload)
        except OSError as exc:
            self._send({"done": "failed", "error": f"{exc.strerror}: {header.get('path', '')}"})

    def _send(self, header: Header, payload: bytes = b"") -> None:
        head = json.dumps(header).encode()
        self._out.write(LENGTHS.pack(len(head), len(payload)) + head + payload)
        self._out.flush()

    # --- code ---

    async def _start(self) -> None:
        """Start a kernel, and wait until it is ready."""
        scratch = Path(os.environ["TMPDIR"])
        connection = scratch / "kernel.json"
        ports = {f"{name}_port": port for port, name in enumerate(CHANNELS, 1)}
        connection.write_text(
            json.dumps({"transport": "ipc", "ip": str(scratch / "kernel"), "key": "", **ports})
        )
        lines = json.dumps([BOUND_OUTPUT.format(limit=self._output)])
        self._kernel = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)),
            *("--HistoryManager.enabled=False", f"--IPKernelApp.exec_lines={lines}"),
            cwd=self._folder,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
        # The import takes as long as the start of the kernel, and meanwhile it starts.
        from jupyter_client.asynchronous import AsyncKernelClient  # noqa: PLC0415

        self._client = AsyncKernelClient()
        self._client.load_connection_file(str(connection))
        self._client.start_channels(stdin=False, hb=False, control=False)
        if not await self._unless_dead(self._kernel, self._ready()):
            raise SystemExit("the kernel ended while it started")
        priority = os.getpriority(os.PRIO_PROCESS, 0) + NICE
        os.setpriority(os.PRIO_PROCESS, self._kernel.pid, priority)  # and that of what it starts
        _signal_all(signal.SIGSTOP)

    async def _restart(self) -> None:
        """Start another kernel; end the sandbox if code has left no room for it."""
        try:
            await self._start()
        except OSError as exc:
            raise RuntimeError("the kernel does not start again") from exc

    async def _ready(self) -> bool:
        """Wait for the kernel's first answer, and for its output, whose subscription may take longer."""
        while True:
            await self._reply(self._client.kernel_info())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._client.get_iopub_msg(), 0.1)
                return True

    async def _unless_dead(self, kernel: Process, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of `work`; None if the kernel ends before."""
        task, dead = asyncio.ensure_future(work), asyncio.ensure_future(kernel.wait())
        await asyncio.wait({task, dead}, return_when=asyncio.FIRST_COMPLETED)
        dead.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return None

    async def _end_all(self) -> None:
        """Kill all processes and wait until none is left: as long as it is not collected, each counts."""
        _signal_all(signal.SIGKILL)
        while _has_others():
            self._reap()
            await asyncio.sleep(0.01)

    def _reap(self) -> None:
        """Collect the processes whose parents ended before them: they are the first process's children."""
        with contextlib.suppress(OSError):
            for child in map(int, Path("/proc/1/task/1/children").read_text().split()):
                if child != self._kernel.pid:
                    os.waitpid(child, os.WNOHANG)

    def _interrupt(self) -> None:
        if self._kernel.returncode is None:
            os.killpg(self._kernel.pid, signal.SIGINT)

    async def _op_run(self, header: Header, _: bytes) -> None:
        _signal_all(signal.SIGCONT)
        status = await self._unless_dead(self._kernel, self._execute(header["code"]))
        if status is None:
            await self._end_all()
            self._client.stop_channels()
            await self._restart()
        _signal_all(signal.SIGSTOP)
        self._reap()
        self._send({"done": status or "died"})

    async def _execute(self, code: str) -> str:
        self._left = {"text": self._output, "error": ERROR}
        id = self._client.execute(code, allow_stdin=False)
        reply = asyncio.create_task(self._reply(id))
        try:
            idle = False
            while not idle:
                message = await self._client.get_iopub_msg()
                if message["parent_header"].get("msg_id") == id:
                    kind, content = message["msg_type"], message["content"]
                    idle = kind == "status" and content["execution_state"] == "idle"
                    self._show(kind, content)
            return "ok" if await reply == "ok" else "error"
        finally:
            reply.cancel()

    async def _reply(self, id: str) -> str:
        while True:
            message = await self._client.get_shell_msg()
            if message["parent_header"].get("msg_id") == id:
                return str(message["content"]["status"])

    def _show(self, kind: str, content: Header) -> None:
        if kind == "stream":
            self._print("text", content["text"])
        elif kind == "error":
            self._print("error", ESCAPES.sub("", "\n".join(content["traceback"]))[-ERROR + 1 :] + "\n")
        elif kind in ("display_data", "execute_result"):
            data = content["data"]
            image = next((type for type in ("image/png", "image/jpeg") if type in data), None)
            if image and (decoded := self._decoded(data[image])):
                self._send({"event": "image", "type": image}, decoded)
            elif "text/plain" in data:
                self._print("text", f"{data['text/plain']}\n")

    def _decoded(self, image: Any) -> bytes | None:
        """Return the bytes of an image; None if they are too many, or what code shows as one is none."""
        with contextlib.suppress(TypeError, ValueError):
            if len(image) <= self._images * 4 / 3:
                return base64.b64decode(image)
        return None

    def _print(self, event: str, text: str) -> None:
        text = text[: self._left[event]]
        self._left[event] -= len(text)
        for start in range(0, len(text), PIECE // 4):  # a character has four bytes at most
            self._send({"event": event}, text[start : start + PIECE // 4].encode(errors="replace"))

    # --- files ---

    def _path(self, header: Header) -> Path:
        return self._folder / str(header["path"])

    async def _op_put(self, header: Header, payload: bytes) -> None:
        _add(self._path(header), header["offset"], payload)
        self._send({"done": "ok"})

    async def _op_list(self, _: Header, __: bytes) -> None:
        found = []
        for folder, _folders, names in os.walk(self._folder):
            for name in names:
                path = Path(folder) / name
                relative = str(path.relative_to(self._folder))
                with contextlib.suppress(OSError):  # the folder must not be entered, or the path is too long
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode) and len(relative) <= LONGEST_PATH:
                        found.append((relative, status.st_size, status.st_ctime_ns))  # code can set st_mtime
        self._send({"done": "ok"}, json.dumps(found).encode())

    async def _op_get(self, header: Header, _: bytes) -> None:
        self._send({"done": "ok"}, _piece(self._path(header), header["offset"]))

    async def _op_delete(self, header: Header, _: bytes) -> None:
        self._path(header).unlink(missing_ok=True)
        self._send({"done": "ok"})


def _exit_if_failed(answer: asyncio.Task[None]) -> None:
    """End the sandbox after a request that has no answer, for which the server would wait in vain."""
    if not answer.cancelled() and (failure := answer.exception()) is not None:
        traceback.print_exception(failure)
        os._exit(1)


def _signal_all(number: int) -> None:
    """Send a signal to all processes in the sandbox but this one."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, number)


def _has_others() -> bool:
    """Whether there is a process in the sandbox beside this one."""
    return any(path.name.isdigit() and path.name != "1" for path in Path("/proc").iterdir())


def _add(path: Path, offset: int, piece: bytes) -> None:
    """Write a piece of a file; the first one makes the file anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if offset else os.O_TRUNC)
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(piece)


def _piece(path: Path, offset: int) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123 - a descriptor
        file.seek(offset)
        return file.read(PIECE)


async def _next(reader: asyncio.StreamReader) -> tuple[Header, bytes] | None:
    try:
        head, payload = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
        return json.loads(await reader.readexactly(head)), await reader.readexactly(payload)
    except asyncio.IncompleteReadError:
        return None


if __name__ == "__main__":
    main()
