"""The process that checks JSON bodies of many values: `python -m serving.body_process FD CACHE [astra]`.

Parsing and checking such a body is a few calls of C code that hold Python's lock for up to seconds: in
the worker, all of its requests would wait.

A request is two messages on the socket FD, a `Task` and the body. The reply is the frames of the body
or one refusal, then an empty message.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson

from inference.batches.lines import checked_line
from serving.json_frames import to_frames
from spec import edition as editions
from spec.body import parse_json
from spec.errata import Erratum
from spec.errors import InvalidRequest
from spec.operation import Body, Operation

SECONDS = 30.0
"""Time for one body, after which the process ends."""

ASTRA = "astra"
"""The argument where the server runs in `astra` mode."""

REFUSAL = b"!"
"""The first byte of a refusal, where a frame has its kind."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a body has to fit: an operation of an edition, named as `spec.edition.load` takes it.

    `model` is that of a body that names none, and `beside` are members that are no part of it. With a
    `batch_endpoint` it is a line of a batch for that endpoint, which holds the body.
    """

    spec: str
    operation: str
    media: str
    model: str | None
    beside: Sequence[str] = ()
    batch_endpoint: str | None = None

    def encode(self) -> bytes:
        """Return the task as a message."""
        return orjson.dumps(asdict(self))


def checked(raw: bytes, body: Body, model: str | None, beside: Sequence[str] = ()) -> Any:
    """Return a JSON body as it fits the edition; raise InvalidRequest if it does not.

    Members named by `beside` are returned as they are.
    """
    return check_value(parse_json(raw), body, model, beside)


def check_value(value: Any, body: Body, model: str | None, beside: Sequence[str] = ()) -> Any:
    """Return a JSON value, which may be changed, as `checked` does."""
    if not isinstance(value, dict):
        body.check(value)
        return value
    if model is not None:
        value.setdefault("model", model)
    unchecked = {name: value.pop(name) for name in beside if name in value}
    body.check(value)
    value.update(unchecked)
    return value


def serve(requests: Connection, operations: "Operations") -> None:
    """Check bodies until the server closes the socket."""
    while True:
        try:
            task, raw = Task(**orjson.loads(requests.recv_bytes())), requests.recv_bytes()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        for message in replies(task, raw, operations):
            requests.send_bytes(message)
        signal.setitimer(signal.ITIMER_REAL, 0)


def replies(task: Task, raw: bytes, operations: "Operations") -> Iterator[bytes]:
    """Yield the messages that answer a request."""
    try:
        body = operations.find(task).body(task.media)
        if task.batch_endpoint is None:
            value = checked(raw, body, task.model, task.beside)
        else:
            value = checked_line(raw, task.batch_endpoint, body.check)
    except InvalidRequest as exc:
        yield REFUSAL + orjson.dumps([exc.message, exc.param, exc.code])
    else:
        yield from to_frames(value)
    yield b""


class Operations:
    """The operations of the editions, which are loaded on first use from the `directory` of prepared ones.

    `rules` are the server's changes of its editions.
    """

    def __init__(self, directory: Path, rules: Sequence[Erratum] = ()) -> None:
        self._directory = directory
        self._rules = rules
        self._of_edition = cache(self._load)

    def find(self, task: Task) -> Operation:
        """Return a task's operation."""
        return self._of_edition(task.spec)[task.operation]

    def _load(self, spec: str) -> dict[str, Operation]:
        return {one.id: one for one in editions.load(spec, self._directory, self._rules).operations}


def main() -> None:
    """Serve the socket whose file descriptor is the first argument."""
    # Ctrl-C in the terminal is for the server, which ends this process when it has stopped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    with Connection(int(sys.argv[1])) as requests:
        serve(requests, Operations(Path(sys.argv[2]), _astra_rules() if ASTRA in sys.argv[3:] else ()))


def _astra_rules() -> Sequence[Erratum]:
    from handlers.astra_assistants import SCHEMA_RULES  # noqa: PLC0415 - imports all handlers

    return SCHEMA_RULES


if __name__ == "__main__":
    main()
