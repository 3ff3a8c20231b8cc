"""The local models as the server sees them: two sockets, and a process that is started and stopped."""

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
"""Tokens of a chat, prompt and answer together."""

PARALLEL_CHATS = 2
"""Chats that are answered at once; further ones wait."""

LONGEST_EMBEDDED = 256
"""Tokens that all-MiniLM-L6-v2 was made for; a longer text is embedded in windows."""


class LocalModels:
    """Made before the workers are forked, so that all of them know its sockets.

    The sockets lie in a folder of their own that nobody else on the machine can enter. `cache` is
    where files are kept that can be made again. Until the models have loaded (about 1 s, 5 s the
    first time) the sockets do not answer; the gateway's driver waits for them.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None
        # Short: a socket's path has at most 104 bytes.
        self.sockets = Path(tempfile.gettempdir()) / f"astrolabe-{secrets.token_hex(8)}"

    @staticmethod
    def missing() -> list[str]:
        """The packages that must be installed before the local models can run."""
        return list(weights.missing())

    def start(self) -> None:
        """Start the process and return at once; called in gunicorn's master, ahead of the forks."""
        if self._process is not None:
            return
        self.sockets.mkdir(mode=0o700)
        # By its path: as a module it would import what it does not need, and stay four times as large.
        command = [sys.executable, "-P", supervisor.__file__, str(self.sockets), str(self._cache.absolute())]
        # Of a group of its own: Ctrl-C is for the server, which lets its streams end first.
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, start_new_session=True, env={**os.environ, **PYTHON_PATH}
        )

    def stop(self) -> None:
        """End the process and forget its sockets; harmless where nothing was started.

        Where this process dies without it, its end of the pipe closes, which does the same.
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
