"""The server's side of the local models: starts and stops their process, knows its sockets."""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from inference.local import supervisor, weights
from inference.subprocesses import PYTHON_PATH

CHAT_SOCKET = "chat.sock"
EMBEDDING_SOCKET = "embedding.sock"

CONTEXT_WINDOW = 2048
"""Tokens of one chat: prompt and answer together."""

PARALLEL_CHATS = 2
"""Chats that are answered at the same time; others wait."""


class LocalModels:
    """Created before the workers are forked, so that all of them know its sockets.

    The sockets are in a folder that no other user of the machine can open. `cache` is a folder for
    files that can be made again. Until the models have loaded (about 1 s, 3 s the first time) the
    sockets do not answer; the gateway's driver waits for them.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None
        # A short path: a socket's may have 104 bytes at most.
        self.sockets = Path(tempfile.gettempdir()) / f"astrolabe-{secrets.token_hex(8)}"

    @staticmethod
    def missing() -> list[str]:
        """Return the packages that must be installed before the local models can run."""
        return list(weights.missing())

    def start(self) -> None:
        """Start the process and return at once; called in gunicorn's master before it forks."""
        if self._process is not None:
            return
        self.sockets.mkdir(mode=0o700)
        # By its path: imported as a module it would take four times the memory.
        command = [sys.executable, "-P", supervisor.__file__, str(self.sockets), str(self._cache.absolute())]
        # In its own session: Ctrl-C is for the server, which finishes its streams first.
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, start_new_session=True, env={**os.environ, **PYTHON_PATH}
        )

    def stop(self) -> None:
        """End the process; it removes its sockets. Do nothing if it was not started.

        If this process is killed, its end of the pipe closes, which has the same effect.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
