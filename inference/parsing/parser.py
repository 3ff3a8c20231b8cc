"""The parser process: `python -m inference.parsing.parser FD MEMORY`.

It imports the libraries and loads the token table once, then forks a child for each file. A file
costs milliseconds, and its process has limits of its own: a hostile file ends only its own process.
The process shares no sockets, open files or secrets with the server, and `confinement` takes the
network and the file system from it. MEMORY bounds what all of its children have in bytes: above it
the largest is killed.

A request is one line of JSON on the socket FD, sent with two open files: the source and an empty
file for the result. A reply is one line of JSON on stdout, with the milliseconds of CPU time as `cpu`;
the first line names what could not be confined. The result is the text in UTF-8, followed by the chunks
as pairs of 64-bit byte offsets into the text.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from inference import tokens
from inference.errors import DocumentError
from inference.parsing.chunking import Chunker, Chunking
from inference.parsing.confinement import confine_file, confine_parser
from inference.parsing.formats import extract, reader
from persistence.types import JSON

BLOCKED = frozenset({signal.SIGCHLD, signal.SIGALRM})
MAX_REQUEST = 4096
MAX_TOKENS = 5_000_000


PAGE = os.sysconf("SC_PAGE_SIZE")
WATCHED_EVERY = 0.1
"""Seconds between two looks at the children's memory."""


def serve(requests: socket.socket, chunker: Chunker, memory: int) -> None:
    """Fork a child for each request, until the server closes the socket."""
    children: dict[int, int] = {}
    signal.signal(signal.SIGCHLD, lambda *_: _reap(children))
    signal.signal(signal.SIGALRM, lambda *_: _bound_memory(children, memory))
    while True:
        data, files, *_ = socket.recv_fds(requests, MAX_REQUEST, 2)
        if not data:
            return
        request = json.loads(data)
        reader(request["suffix"])  # imports its library once, before the fork
        # Blocked until the child is registered, or it could end before.
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        child = os.fork()
        if child == 0:
            requests.close()
            _run_child(request, files, chunker)
        children[child] = request["id"]
        signal.setitimer(signal.ITIMER_REAL, WATCHED_EVERY, WATCHED_EVERY)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
        for file in files:
            os.close(file)


def _bound_memory(children: dict[int, int], memory: int) -> None:
    """Kill the child that takes most if all of them take more than `memory` bytes beyond what they share."""
    if not children:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return
    shared = _resident(os.getpid())
    taken = {child: max(0, _resident(child) - shared) for child in children}
    if sum(taken.values()) > memory:
        os.kill(max(taken, key=taken.__getitem__), signal.SIGKILL)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE
    except OSError:  # not Linux
        return 0


def _reap(children: dict[int, int]) -> None:
    """Reply for each child that ended without replying."""
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status, used = os.wait4(-1, os.WNOHANG)
            if child == 0:
                return
            request = children.pop(child)
            if status != 0:
                number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                _reply({"id": request, "signal": number, "cpu": _milliseconds(used)})


def _milliseconds(used: resource.struct_rusage) -> int:
    return round(1000 * (used.ru_utime + used.ru_stime))


def _reply(reply: JSON) -> None:
    os.write(sys.stdout.fileno(), json.dumps(reply).encode() + b"\n")


def _run_child(request: JSON, files: Sequence[int], chunker: Chunker) -> NoReturn:
    """Handle one request and exit."""
    status = 1
    try:
        for number in BLOCKED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
        _limit(request)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        confine_file()
        outcome = _outcome(request, *files, chunker=chunker)
        cpu = _milliseconds(resource.getrusage(resource.RUSAGE_SELF))
        _reply({"id": request["id"], "cpu": cpu, **outcome})
        status = 0
    finally:
        os._exit(status)


def _limit(request: JSON) -> None:
    memory, seconds = request["memory"], request["seconds"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # SIGALRM ends the process, even inside a C library.
    signal.setitimer(signal.ITIMER_REAL, 2 * seconds)


def _outcome(request: JSON, source: int, result: int, *, chunker: Chunker) -> JSON:
    try:
        return _write(_parsed(request, source), request, result, chunker)
    except DocumentError as exc:
        code, message = exc.code, exc.message
    except MemoryError:
        code, message = "invalid_file", "Reading the file needs more memory than this server allows."
    except Exception as exc:  # noqa: BLE001  The libraries' errors have no common base class.
        code, message = "invalid_file", f"The file cannot be read: {type(exc).__name__}."
    return {"code": code, "message": message}


def _parsed(request: JSON, source: int) -> str:
    with open(source, "rb") as file:
        return extract(file, request["suffix"], request["charset"], replaces=request["replaces"])


def _write(text: str, request: JSON, result: int, chunker: Chunker) -> JSON:
    spans = chunker.split(text, Chunking(request["size"], request["overlap"]))
    if len(spans) * (request["size"] - request["overlap"]) > MAX_TOKENS:
        raise DocumentError(f"The file has more than {MAX_TOKENS} tokens.", code="invalid_file")
    encoded = text.encode()
    with open(result, "wb") as file:
        file.write(encoded)
        file.write(array("q", [offset for span in spans for offset in span]).tobytes())
    return {"text": len(encoded), "chunks": len(spans)}


def main() -> None:
    """Serve the socket whose file descriptor is the first argument, until it is closed."""
    # Ctrl-C in the terminal is for the server, which ends this process when it has stopped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    chunker = Chunker(tokens.encoding())
    _reply({"unconfined": confine_parser()})
    os.nice(10)  # Searches come first: the workers, and the local models at 5, which embed their queries.
    serve(socket.socket(fileno=int(sys.argv[1])), chunker, int(sys.argv[2]))


if __name__ == "__main__":
    main()
