"""Where an attack takes place: two workers, two projects with keys, a provider, and a bystander's requests."""

import base64
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson

from bench.attack.bystander import Bystander, Latencies
from bench.figures import TIMES
from bench.load import BenchFailed
from bench.measuring import MEGABYTE, memory, peak_rss, reset_peak
from bench.rig import Rig
from tests.server import COMMAND, ROOT, Server, free_port

PATIENCE = 300.0
"""Seconds that an attacker waits for an answer."""

LEAST_SECONDS = 1.0
"""How long the bystander is watched at least."""

NOTED_IN = "blocked-"
"""How the files begin in which `probed.py` notes the longest block of each worker."""

BEFORE = 2.0
"""How long the bystander is watched ahead of the attack, to see what the machine does by itself."""

RECOVERY = 5.0
"""Seconds after an attack until everything has to be normal again."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A running server with the attacker's means."""

    rig: Rig
    server: Server
    key: str
    bystander_key: str
    hooks_file: Path
    hooks: tuple[int, int]
    """The ports of the attacker's webhook and of the bystander's; nothing listens there yet."""

    def client(self, key: str | None = None) -> httpx.Client:
        """Return a client of the attacker, or of the holder of another key."""
        headers = {"Authorization": f"Bearer {key or self.key}", "OpenAI-Beta": "assistants=v2"}
        # Reading the certificates of HTTPS takes 50 ms of CPU time, which the server would lack.
        return httpx.Client(base_url=self.server.url, headers=headers, timeout=PATIENCE, verify=False)

    def make(self, path: str, body: Any) -> str:
        """Create an object of the attacker and return its id."""
        with self.client() as client:
            answer = client.post(path, json=body)
        if answer.status_code != 200:
            raise BenchFailed(f"POST {path}: {answer.status_code} {answer.text[:300]}")
        return str(answer.json()["id"])

    def post(self, path: str, body: bytes) -> str:
        """Send a JSON body over a connection of its own and return what came of it."""
        with self.client() as client:
            return said(client.post(path, content=body, headers={"Content-Type": "application/json"}))

    def connect(self) -> socket.socket:
        """Open a connection to the server."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE)


class AttackWorked(Exception):
    """The attack reached more than it may; the message says what came of it."""


def said(answer: httpx.Response) -> str:
    """Return an answer's status, and the code of its error."""
    if answer.status_code < 400:
        return str(answer.status_code)
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError):
        return f"{answer.status_code} (not an error of OpenAI's form)"
    return f"{answer.status_code} {error['code'] or error['type']}"


def outcome_of(request: Callable[[], str]) -> str:
    """Return what a request returns, or the name of the error that broke its connection."""
    try:
        return request()
    except httpx.TransportError as exc:
        return type(exc).__name__


def all_of(one: Callable[[int], str], times: int) -> str:
    """Run `one` that often side by side and return how often each outcome came."""
    # An attacker computes on its own machine: on this one its threads leave the CPUs to the server first.
    with ThreadPoolExecutor(min(times, 200), initializer=os.nice, initargs=(10,)) as pool:
        counted = Counter(pool.map(lambda number: outcome_of(partial(one, number)), range(times)))
    return ", ".join(
        outcome if count == 1 else f"{count} {TIMES} {outcome}" for outcome, count in counted.items()
    )


def encoded(body: Any) -> bytes:
    """Return a JSON body."""
    return orjson.dumps(body)


@dataclass(frozen=True, slots=True)
class Result:
    """What an attack did: latencies of the bystander in milliseconds, growth of a worker in megabytes.

    `block` is the longest time, in milliseconds, for which a worker computed between two turns of its loop:
    unlike the latencies, what else the machine does hardly changes it.
    """

    before: Latencies
    during: Latencies
    after: Latencies
    seconds: float
    block: float
    growth: float
    peak: float
    killed: int
    outcome: str
    worked: bool = False
    """Whether the attack reached more than it may, beside what is measured here."""


@contextmanager
def arena(rig: Rig) -> Iterator[Arena]:
    """Yield a server of two workers with default settings, in keys mode, with a webhook for each project."""
    ports = free_port(), free_port()
    hooks = rig.room("hooks") / "hooks.yaml"
    hooks.write_text(orjson.dumps(webhooks(ports)).decode())
    settings = {"ASTROLABE_AUTH": "keys", "ASTROLABE_WEBHOOKS": str(hooks), "PYTHONPATH": str(ROOT)}
    command = (*COMMAND[:-1], "bench.attack.probed:app")
    with (
        rig.provider(1) as provider,
        rig.server("server", provider, workers=2, command=command, **settings) as server,
    ):
        yield Arena(rig, server, new_key(server, "attacker"), new_key(server, "bystander"), hooks, ports)


def webhooks(ports: tuple[int, int]) -> Any:
    """Return the file of webhooks: one of the attacker and one of the bystander."""
    secret = "whsec_" + base64.b64encode(bytes(24)).decode()
    hosts = [f"127.0.0.1:{port}" for port in ports]
    endpoints = ([{"url": f"http://{host}/hook", "secret": secret}] for host in hosts)
    return {"projects": dict(zip(("attacker", "bystander"), endpoints, strict=True)), "private_hosts": hosts}


def new_key(server: Server, project: str) -> str:
    """Make a key as an operator does."""
    command = [sys.executable, "-m", "serving.cli", "keys", "create", "--project", project]
    done = subprocess.run(
        command, env=server.environment, cwd=server.folder, capture_output=True, text=True, check=True
    )
    return done.stdout.split()[0]


def measure(ground: Arena, attack: Callable[[], str]) -> Result:
    """Run an attack while the bystander sends requests, and look again when it should be over."""
    workers = ground.server.workers()
    with Bystander(ground.server.port, ground.bystander_key) as bystander:
        bystander.warm()
        time.sleep(BEFORE)
        before = bystander.latencies()
        sizes = {pid: memory(pid).rss for pid in workers}
        for pid in workers:
            reset_peak(pid)
        longest_block(ground.server.folder)
        began = time.monotonic()
        worked = False
        try:
            outcome = outcome_of(attack)
        except AttackWorked as exc:
            outcome, worked = str(exc), True
        seconds = time.monotonic() - began
        time.sleep(max(0.0, LEAST_SECONDS - seconds))
        during = bystander.latencies()
        block = longest_block(ground.server.folder)
        time.sleep(RECOVERY)
        bystander.latencies()
        time.sleep(2)
        after = bystander.latencies()
    alive = [pid for pid in ground.server.workers() if pid in sizes]
    return Result(
        before,
        during,
        after,
        seconds,
        block=block,
        growth=max((memory(pid).rss - sizes[pid] for pid in alive), default=0) / MEGABYTE,
        peak=max((peak_rss(pid) - sizes[pid] for pid in alive), default=0) / MEGABYTE,
        killed=len(workers) - len(alive),
        outcome=outcome,
        worked=worked,
    )


def longest_block(folder: Path) -> float:
    """Return the milliseconds of the longest block that a worker has noted, and forget it."""
    longest = 0.0
    for path in folder.glob(f"{NOTED_IN}*"):
        longest = max(longest, 1000 * float(path.read_text() or 0))
        path.unlink()
    return longest
