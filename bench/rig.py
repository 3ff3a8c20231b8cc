"""Servers, peers and providers, each started for one bench."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import BenchFailed
from tests.provider import ProviderProcess
from tests.server import Server, free_port

PROVIDERS = 2
"""Processes of the provider: with one, the provider would be the bottleneck."""


@dataclass(slots=True)
class Rig:
    """One run of the benches.

    `folder` is emptied after the run; `quick` measures for a glance, not for a record.
    """

    folder: Path
    quick: bool
    say: Callable[[str], None]
    cassandra: str | None = None
    litellm: Path | None = None
    data_sets: tuple[Path, ...] = ()

    @property
    def rounds(self) -> int:
        """Return the rounds of each side."""
        return 2 if self.quick else 5

    @property
    def seconds(self) -> float:
        """Return the seconds of one round."""
        return 1.0 if self.quick else 2.0

    def scaled(self, count: int) -> int:
        """Return `count`, or a tenth of it in a quick run."""
        return count // 10 if self.quick else count

    def room(self, name: str) -> Path:
        """Make an empty folder."""
        path = self.folder / name
        path.mkdir(parents=True)
        return path

    @contextmanager
    def server(
        self, name: str, provider: ProviderProcess | None = None, *, workers: int = 1, **options: Any
    ) -> Iterator[Server]:
        """Yield Astrolabe under gunicorn: warm, SQLite, default settings."""
        url = provider.url if provider is not None else "http://127.0.0.1:9/v1"
        environment = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": url, **options}
        with Server(self.room(name), workers=workers, **environment) as server:
            yield server

    @contextmanager
    def provider(self, processes: int = PROVIDERS) -> Iterator[ProviderProcess]:
        """Yield the loopback provider."""
        with ProviderProcess(processes=processes) as provider:
            yield provider

    @contextmanager
    def flask(self, name: str, value: Any) -> "Iterator[Peer]":
        """Yield bare Flask under gunicorn's gthread worker with 16 threads, answering `value`."""
        path = self.room(name) / "value.json"
        path.write_text(json.dumps(value))
        peer = Peer(path.parent, f"bench.flask_peer:create_app({str(path)!r})")
        try:
            peer.start()
            yield peer
        finally:
            peer.stop()


class Peer:
    """A WSGI application under gunicorn, one worker of 16 threads."""

    def __init__(self, folder: Path, app: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._app = app
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait for the first response of any status."""
        options = ["--bind", f"127.0.0.1:{self.port}", "--worker-class", "gthread", "--threads", "16"]
        with (self._folder / "peer.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--no-control-socket", *options, self._app],
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        wait_listening(self.port, self.process)

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def stop(self) -> None:
        """Stop it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


def wait_listening(port: int, process: "subprocess.Popen[bytes]", patience: float = 30.0) -> None:
    """Wait until an HTTP server answers on the port."""
    import http.client

    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        time.sleep(0.005)
    raise BenchFailed(f"nothing answers on port {port}")
