"""The program inside a sandbox: runs an IPython kernel, and speaks with the server over its standard streams.

The sandbox's own Python runs this file, so it imports nothing of the server. Whatever it says may be the
word of the code that it runs: the server believes none of it.

A frame is the length of a JSON header and of a payload (each four bytes, big-endian), and these two.
Requests have an `op`: `run` (code), `interrupt`, `put` (a piece of a file), `get`, `list` and `delete`.
Each ends with a frame that has `done`; a `run` sends `text`, `image` and `error` frames before it.
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
import stat
import struct
import sys
from pathlib import Path
from typing import Any

PIECE = 256 * 1024
"""Bytes of a file in one frame."""

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
bound_output({limit})
del bound_output
"""
"""What the kernel runs first: else it keeps all that code prints in memory, for its history and to send it.

IPython wraps `write` for each cell, before this does, and removes both wrappers at the cell's end.
"""

Header = dict[str, Any]


def main() -> None:
    """Give up privileges, limit this process and its children, and serve the requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uid", type=int, help="run as this user; only root can")
    parser.add_argument("--system-calls", required=True, help="a seccomp program in base64, or nothing")
    parser.add_argument("--memory", type=int, required=True, help="bytes of address space of each process")
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--cpu", type=int, required=True, help="seconds of CPU time of each process")
    parser.add_argument("--disk", type=int, required=True, help="bytes of a file")
    parser.add_argument("--output", type=int, required=True, help="characters that a run shows")
    parser.add_argument("--folder", required=True, help="the folder of the files")
    _limit(arguments := parser.parse_args())
    asyncio.run(Bridge(Path(arguments.folder), arguments.output).serve())


def _limit(arguments: argparse.Namespace) -> None:
    with contextlib.suppress(OSError):  # the first to be killed if the machine runs out of memory
        Path("/proc/self/oom_score_adj").write_text("1000")
    if arguments.uid is not None:
        os.chown(arguments.folder, arguments.uid, arguments.uid)
        os.setgroups([])
        os.setgid(arguments.uid)
        os.setuid(arguments.uid)
    os.nice(10)
    for name, value in (
        ("AS", arguments.memory),
        ("NPROC", arguments.processes),
        ("CPU", arguments.cpu),
        ("FSIZE", arguments.disk),
        ("NOFILE", 512),
        ("CORE", 0),
    ):
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
    set_dumpable, no_new_privileges, set_filter = 4, 38, 22
    for call in (
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
    """Serves the requests of the server one after another; an `interrupt` may come during a `run`."""

    def __init__(self, folder: Path, output: int) -> None:
        self._folder = folder
        self._output = output
        self._left = 0
        self._out = sys.stdout.buffer
        self._kernel: Any = None
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
                await self._kernel.interrupt_kernel()
                continue
            if running is not None:
                await running
            running = asyncio.create_task(self._answer(header, payload))
        await self._kernel.shutdown_kernel(now=True)

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
        """Start a kernel."""
        from jupyter_client.manager import AsyncKernelManager  # noqa: PLC0415 - after the limits

        self._kernel = AsyncKernelManager(transport="ipc", ip=str(Path(os.environ["TMPDIR"]) / "kernel"))
        quiet = {"stdin": -3, "stdout": -3, "stderr": -3}  # subprocess.DEVNULL
        bound = json.dumps([BOUND_OUTPUT.format(limit=self._output)])
        arguments = ["--no-secure", f"--IPKernelApp.exec_lines={bound}"]
        await self._kernel.start_kernel(cwd=str(self._folder), extra_arguments=arguments, **quiet)
        self._client = self._kernel.client()
        self._client.start_channels()
        await self._client.wait_for_ready(timeout=60)

    async def _op_run(self, header: Header, _: bytes) -> None:
        running = asyncio.create_task(self._execute(header["code"]))
        dead = asyncio.create_task(self._death())
        await asyncio.wait({running, dead}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            dead.cancel()
            self._send({"done": running.result()})
            return
        running.cancel()
        self._client.stop_channels()
        await self._kernel.shutdown_kernel(now=True)
        await self._start()
        self._send({"done": "died"})

    async def _death(self) -> None:
        while await self._kernel.is_alive():  # noqa: ASYNC110 - the manager has no event for it
            await asyncio.sleep(0.2)

    async def _execute(self, code: str) -> str:
        self._left = self._output
        id = self._client.execute(code, allow_stdin=False)
        idle = False
        status = None
        reply = asyncio.create_task(self._reply(id))
        while not idle:
            message = await self._client.get_iopub_msg()
            if message["parent_header"].get("msg_id") != id:
                continue
            kind, content = message["msg_type"], message["content"]
            idle = kind == "status" and content["execution_state"] == "idle"
            self._show(kind, content)
        status = await reply
        return "ok" if status == "ok" else "error"

    async def _reply(self, id: str) -> str:
        while True:
            message = await self._client.get_shell_msg()
            if message["parent_header"].get("msg_id") == id:
                return str(message["content"]["status"])

    def _show(self, kind: str, content: Header) -> None:
        if kind == "stream":
            self._print("text", content["text"])
        elif kind == "error":
            self._print("error", ESCAPES.sub("", "\n".join(content["traceback"])) + "\n")
        elif kind in ("display_data", "execute_result"):
            data = content["data"]
            image = next((type for type in ("image/png", "image/jpeg") if type in data), None)
            if image:
                self._send({"event": "image", "type": image}, base64.b64decode(data[image]))
            elif "text/plain" in data:
                self._print("text", data["text/plain"] + "\n")

    def _print(self, event: str, text: str) -> None:
        text = text[: self._left]
        self._left -= len(text)
        if text:
            self._send({"event": event, "text": text})

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
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    relative = str(path.relative_to(self._folder))
                    found.append({"path": relative, "size": status.st_size, "changed": status.st_mtime_ns})
        self._send({"done": "ok", "files": found})

    async def _op_get(self, header: Header, _: bytes) -> None:
        self._send({"done": "ok"}, _piece(self._path(header), header["offset"]))

    async def _op_delete(self, header: Header, _: bytes) -> None:
        self._path(header).unlink(missing_ok=True)
        self._send({"done": "ok"})


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
