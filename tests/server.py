"""Start, stop, kill and restart a real gunicorn with real workers."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "cache"
"""Where the normalized editions are, for all servers and tests."""
START_SECONDS = 60.0
COMMAND = (sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app")
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an `astrolabe` command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", *arguments],
        env={**base_environment(), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def base_environment() -> dict[str, str]:
    """Return the variables that any process needs, and none that configures the server."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "ASTROLABE_CACHE": str(CACHE)}


def until(holds: Callable[[], bool], *, seconds: float) -> None:
    """Poll until `holds()` is true; fail after `seconds`. For what no event announces."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(0.02)


class Server:
    """One server in a folder of its own; its log is `folder/server.log`.

    `command` starts it: by default gunicorn on the checkout.

    with Server(tmp_path, OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="sk-provider") as server:
        OpenAI(base_url=server.url, api_key="any")
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        port: int | None = None,
        command: Sequence[str] = COMMAND,
        **environment: str,
    ) -> None:
        self.folder = folder
        self.command = command
        self.port = port or free_port()
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **base_environment(),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(workers),
            "ASTROLABE_STORE": f"sqlite:///{folder}/astrolabe.db",
            "ASTROLABE_STRICT_RESPONSES": "true",
            "ASTROLABE_GRACE": "3",
            **environment,
        }

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.root}/readyz", timeout=5) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start:\n{self.tail()}")

    def stop(self) -> None:
        """Send SIGTERM and wait for the end; kill the server after 30 s."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the master and every worker at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [pid for pid in map(int, children.read_text().split()) if is_worker(pid)]

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def is_worker(pid: int) -> bool:
    """Return whether a child of gunicorn's master is a worker; the local models are a child too."""
    with contextlib.suppress(OSError):
        return b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
