"""Messages: a durable write, the list of a long thread, disk usage."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import apsw
import orjson
import uvloop

from bench.client import Answer, Connection, ask, each_in_turn, request
from bench.figures import Figure, at_most_times
from bench.load import BenchFailed, wrk
from bench.measuring import alternate, median_ratio, tree_size
from bench.rig import Rig
from inference.assistants.objects import message_object, text_part
from inference.identifiers import new_id
from persistence.collections import MESSAGES
from persistence.engines import open_store
from persistence.store import Insert, Key, Store, child_id
from persistence.types import JSON
from serving.auth import OPEN_PROJECT

MESSAGE = {"role": "user", "content": "Why is the sky blue? " * 5}
BATCH = 1000
PAGE = 100


def post_message(rig: Rig) -> Iterator[Figure]:
    """Measure POST of a message, durable, next to one fsynced commit of SQLite on the same disk."""
    count = 50
    with rig.server("post") as server:
        thread = asyncio.run(ask(server.port, "POST", "/v1/threads", {}))
        path = f"/v1/threads/{thread['id']}/messages"
        commits = Commits(rig.room("commits") / "bare.db")
        post = partial(posts, server.port, path, count)
        post()
        pairs = alternate(2 * rig.rounds, post, partial(commits.run, count))
        body = rig.room("post-body") / "body.json"
        body.write_bytes(request("POST", path, MESSAGE).partition(b"\r\n\r\n")[2])
        pids = server.workers()
        many = wrk(server.root + path, rig.seconds, pids=pids, body=body)
    times = [(statistics.median(one) * 1000, statistics.median(other) * 1000) for one, other in pairs]
    yield Figure(
        "POST a message, durable, p50",
        statistics.median(one for one, _ in times),
        "ms",
        "fsynced commit of SQLite",
        statistics.median(other for _, other in times),
        median_ratio(times),
        bar=at_most_times(3),
    )
    yield Figure("POST messages, 16 connections", many.rate.each_second, "/s", cpu=many.rate.cpu_each)


def posts(port: int, path: str, count: int) -> list[float]:
    """Return the seconds of POSTs sent one after the other."""
    answers: list[Answer] = uvloop.run(each_in_turn(port, [request("POST", path, MESSAGE)] * count))
    if any(answer.status != 200 for answer in answers):
        raise BenchFailed(f"a message was refused: {answers[-1].body[:300]!r}")
    return [answer.seconds for answer in answers]


class Commits:
    """The least that a durable write costs: a row of the same size in SQLite (WAL mode), fsynced."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.execute("CREATE TABLE messages (id TEXT PRIMARY KEY, value BLOB)")
        self._value = os.urandom(600)

    def run(self, count: int) -> list[float]:
        """Return the seconds of each of `count` commits."""
        seconds = []
        for _ in range(count):
            began = time.perf_counter()
            with self._connection:
                self._connection.execute("INSERT INTO messages VALUES (?, ?)", (new_id("msg_"), self._value))
            seconds.append(time.perf_counter() - began)
        return seconds


def long_thread(rig: Rig) -> Iterator[Figure]:
    """Measure a list of 20 messages of a thread of 100,000, next to one of 100, and disk usage."""
    many, few = rig.scaled(100_000), 100
    with rig.server("threads") as server:
        threads = [asyncio.run(ask(server.port, "POST", "/v1/threads", {}))["id"] for _ in range(2)]
        server.stop()
        store = server.folder / "astrolabe.db"
        uvloop.run(seed(store, threads[1], few))
        before = tree_size(store)
        uvloop.run(seed(store, threads[0], many))
        each = (tree_size(store) - before) / many
        server.start()
        pids = server.workers()
        lists = [f"{server.root}/v1/threads/{thread}/messages?limit=20" for thread in threads]
        pairs = alternate(rig.rounds, *(partial(wrk, url, 1, pids=pids, connections=4) for url in lists))
        early, late, deeper = uvloop.run(early_and_late(server.port, f"/v1/threads/{threads[0]}/messages"))
    times = [(1000 / one.rate.each_second, 1000 / other.rate.each_second) for one, other in pairs]
    yield Figure(
        f"list 20 of {many:,} messages",
        statistics.median(one for one, _ in times),
        "ms",
        f"20 of {few}",
        statistics.median(other for _, other in times),
        median_ratio(times),
        statistics.median(one.rate.cpu_each for one, _ in pairs),
        at_most_times(1.15),
    )
    name = f"… all of them by pages of {PAGE}: a late page against an early one"
    yield Figure(name, late, "ms", "early", early, deeper, bar=at_most_times(1.3))
    json_size = len(orjson.dumps(stored(threads[0])))
    name = f"storage of {many:,} messages, each"
    yield Figure(name, each, "bytes", "their JSON", json_size, each / json_size)


async def seed(path: Path, thread: str, count: int, project: str = OPEN_PROJECT) -> None:
    """Insert `count` messages into a thread of the SQLite store."""
    store = open_store(f"sqlite:///{path}")
    await store.open()
    await fill(store, thread, count, BATCH, project)
    await store.close()


async def fill(store: Store, thread: str, count: int, at_once: int, project: str = OPEN_PROJECT) -> None:
    """Insert `count` messages into a thread, in batches."""
    for start in range(0, count, at_once):
        values = [stored(thread) for _ in range(min(at_once, count - start))]
        keys = [Key(project, MESSAGES, child_id(thread, each["id"])) for each in values]
        inserts = [Insert(key, each, parent=thread) for key, each in zip(keys, values, strict=True)]
        await store.write(*inserts)


def stored(thread: str) -> JSON:
    """Return a message as it is stored."""
    text = [text_part(MESSAGE["content"])]
    return message_object(new_id("msg_"), thread, "user", text, now=int(time.time()))


async def early_and_late(port: int, path: str) -> tuple[float, float, float]:
    """Return the milliseconds of early and late pages of a list, alternating, and their ratio."""
    async with Connection(port) as connection:
        pages = [f"{path}?limit={PAGE}"]
        while (page := (await connection.send(request("GET", pages[-1]))).json())["has_more"]:
            pages.append(f"{path}?limit={PAGE}&after={page['last_id']}")
        tenth = max(1, len(pages) // 10)
        times = []
        for early, late in list(zip(pages[:tenth], pages[-tenth:], strict=True)) * (200 // tenth):
            answers = [await connection.send(request("GET", each)) for each in (early, late)]
            times.append((1000 * answers[1].seconds, 1000 * answers[0].seconds))
    late_ones, early_ones = (statistics.median(side) for side in zip(*times, strict=True))
    return early_ones, late_ones, median_ratio(times)
