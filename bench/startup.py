"""The time from start to first response, and the memory of a worker."""

import statistics
import time
from collections.abc import Iterator
from functools import partial

import orjson

from bench import relay
from bench.figures import Figure, at_most
from bench.load import wrk
from bench.measuring import MEGABYTE, alternate, cpu_seconds, median_ratio, memory
from bench.rig import Peer, Rig
from tests.server import Server


def start(rig: Rig) -> Iterator[Figure]:
    """Measure the time from the command to the first response, with a warm cache."""
    with rig.server("start") as server, rig.flask("start-flask", {}) as peer:
        server.stop()
        peer.stop()
        pairs = alternate(rig.rounds, partial(start_once, server), partial(start_once, peer))
    for place, name, bar in (
        (0, "start to first answer, newest edition", at_most(1.5)),
        (1, "… CPU time", None),
    ):
        both = [(one[place], other[place]) for one, other in pairs]
        ours, theirs = (statistics.median(side) for side in zip(*both, strict=True))
        yield Figure(name, ours, "s", "bare Flask, gthread", theirs, median_ratio(both), bar=bar)


def start_once(one: Server | Peer) -> tuple[float, float]:
    """Start and stop a server; return wall and CPU seconds of the start."""
    began = time.perf_counter()
    one.start()
    seconds = time.perf_counter() - began
    assert one.process is not None
    cpu = cpu_seconds([one.process.pid, *one.workers()])
    one.stop()
    return seconds, cpu


def worker_memory(rig: Rig) -> Iterator[Figure]:
    """Measure a worker's memory: idle, and after completions, streams and GETs."""
    body = rig.room("memory") / "body.json"
    body.write_bytes(orjson.dumps(relay.QUESTION))
    with rig.provider() as provider, rig.server("memory-server", provider) as server:
        (pid,) = server.workers()
        idle = memory(pid)
        wrk(f"{server.root}/v1/models/gpt-4o", 1, connections=16)
        relay.load(server.root, rig.seconds, [pid], body)
        relay.stream_load(server.port, rig.seconds, [pid], relay.STREAM)
        after = memory(pid)
    yield Figure("memory of one worker, idle, RSS", idle.rss / MEGABYTE, "MB", bar=at_most(130))
    yield Figure("… PSS", idle.pss / MEGABYTE, "MB")
    yield Figure("… after load, RSS", after.rss / MEGABYTE, "MB")
    yield Figure("… PSS", after.pss / MEGABYTE, "MB")
