"""Where an attack takes place: two workers, two projects with keys, a provider, and a bystander's requests."""

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
from typing import Any

import httpx
import orjson

from bench.attack.bystander import Bystander, Latencies
from bench.figures import TIMES
from bench.load import BenchFailed
from bench.measuring import MEGABYTE, memory, peak_rss, reset_peak
from bench.rig import Rig
from tests.server import Server

PATIENCE = 300.0
"""Seconds that an attacker waits for an answer."""

LEAST_SECONDS = 1.0
"""How long the bystander is watched at least."""

RECOVERY = 5.0
"""Seconds after an attack until everything has to be normal again."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A running server with the attacker's means."""

    rig: Rig
    server: Server
    key: str
    bystander_key: str

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
    """What an attack did: latencies of the bystander in milliseconds, growth of a worker in megabytes."""

    during: Latencies
    after: Latencies
    seconds: float
    growth: float
    peak: float
    killed: int
    outcome: str


@contextmanager
def arena(rig: Rig) -> Iterator[Arena]:
    """Yield a server of two workers with default settings, in keys mode."""
    with (
        rig.provider(1) as provider,
        rig.server("server", provider, workers=2, ASTROLABE_AUTH="keys") as server,
    ):
        yield Arena(rig, server, new_key(server, "attacker"), new_key(server, "bystander"))


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
    before = {pid: memory(pid).rss for pid in workers}
    for pid in workers:
        reset_peak(pid)
    with Bystander(ground.server.port, ground.bystander_key) as bystander:
        bystander.warm()
        began = time.monotonic()
        outcome = outcome_of(attack)
        seconds = time.monotonic() - began
        time.sleep(max(0.0, LEAST_SECONDS - seconds))
        during = bystander.latencies()
        time.sleep(RECOVERY)
        bystander.latencies()
        time.sleep(2)
        after = bystander.latencies()
    alive = [pid for pid in ground.server.workers() if pid in before]
    grown = max((memory(pid).rss - before[pid] for pid in alive), default=0)
    peak = max((peak_rss(pid) - before[pid] for pid in alive), default=0)
    killed = len(workers) - len(alive)
    return Result(during, after, seconds, grown / MEGABYTE, peak / MEGABYTE, killed, outcome)
