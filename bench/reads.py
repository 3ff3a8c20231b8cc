"""Reading one object over HTTP, next to the least that a Flask application can do."""

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Iterator

from bench.client import ask
from bench.figures import Figure, at_least_times, at_most_times, rate_figure
from bench.load import KEY, wrk
from bench.measuring import alternate, median_ratio
from bench.rig import Rig
from tests.server import Server

FLASK = "bare Flask, gthread"
ASSISTANT = {
    "model": "gpt-4o",
    "name": "Math tutor",
    "instructions": "You are a personal math tutor. Write and run code to answer math questions.",
    "tools": [{"type": "code_interpreter"}],
    "metadata": {"team": "education", "stage": "production"},
}


def get_assistant(rig: Rig) -> Iterator[Figure]:
    """Measure GET of an assistant: a real read of SQLite, both validations, metrics and logs on."""
    with rig.server("get") as server:
        made = asyncio.run(ask(server.port, "POST", "/v1/assistants", ASSISTANT))
        path = f"/v1/assistants/{made['id']}"
        with rig.flask("get-flask", made) as peer:
            ours, theirs = server.workers(), peer.workers()
            wrk(server.root + path, 1, pids=ours)
            wrk(peer.url + path, 1, pids=theirs)
            pairs = alternate(
                rig.rounds,
                lambda: wrk(server.root + path, rig.seconds, pids=ours),
                lambda: wrk(peer.url + path, rig.seconds, pids=theirs),
            )
    rates = [(one.rate, other.rate) for one, other in pairs]
    yield rate_figure("GET one assistant, 16 connections", rates, FLASK, at_least_times(2.5))
    cpu = [(one.cpu_each, other.cpu_each) for one, other in rates]
    yield Figure(
        "… CPU time of one GET",
        statistics.median(one for one, _ in cpu),
        "µs",
        FLASK,
        statistics.median(other for _, other in cpu),
        median_ratio(cpu),
    )


def get_in_astra_mode(rig: Rig) -> Iterator[Figure]:
    """Measure the same GET with a token for its tenant, next to one with an API key."""
    version = {"OpenAI-Beta": "assistants=v2"}  # as SDKs send it: astra mode would serve version 1 without
    token = {"astra-api-token": "AstraCS:bench:0123456789abcdef", **KEY, **version}
    with (
        rig.server("get-astra", ASTROLABE_AUTH="astra") as server,
        rig.server("get-keys", ASTROLABE_AUTH="keys") as peer,
    ):
        key = {"Authorization": f"Bearer {_made_key(peer)}", **version}
        paths = []
        for one, headers in ((server, token), (peer, key)):
            made = asyncio.run(ask(one.port, "POST", "/v1/assistants", ASSISTANT, headers))
            paths.append(f"/v1/assistants/{made['id']}")
        ours, theirs = server.workers(), peer.workers()
        pairs = alternate(
            2 * rig.rounds,
            lambda: wrk(server.root + paths[0], rig.seconds, pids=ours, headers=token),
            lambda: wrk(peer.root + paths[1], rig.seconds, pids=theirs, headers=key),
        )
    cpu = [(one.rate.cpu_each, other.rate.cpu_each) for one, other in pairs]
    yield Figure(
        "CPU time of one GET in astra mode",
        statistics.median(one for one, _ in cpu),
        "µs",
        "with keys",
        statistics.median(other for _, other in cpu),
        median_ratio(cpu),
        bar=at_most_times(1.15),
    )


def _made_key(server: Server) -> str:
    command = [sys.executable, "-m", "serving.cli", "keys", "create", "--project", "bench"]
    done = subprocess.run(
        command, env=server.environment, cwd=server.folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
