"""Files: upload and download over HTTP, long lists, and the cost of ingestion."""

import asyncio
import http.client
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.client import ask
from bench.figures import Figure, at_least, at_most, at_most_times
from bench.load import KEY, BenchFailed
from bench.measuring import MEGABYTE, alternate, median_ratio, memory, peak_rss, reset_peak
from bench.rig import Rig
from bench.writes import BATCH, PAGE, early_and_late
from inference.identifiers import new_id
from inference.retrieval.files import purpose_label
from persistence.collections import FILES
from persistence.engines import open_store
from persistence.store import Insert, Key
from serving.auth import OPEN_PROJECT

BOUNDARY = "astrolabe-bench"
PIECE = 1024 * 1024
WORDS = 400


def transfer(rig: Rig) -> Iterator[Figure]:
    """Measure an upload and download of 100 MB over loopback, and the server's memory for it."""
    size = rig.scaled(100) * MEGABYTE
    with rig.server("transfer") as server, rig.flask("transfer-flask", {}) as peer:
        (pid,) = server.workers()
        transferred(server.port, MEGABYTE)
        transferred(peer.port, MEGABYTE)
        before = memory(pid).rss
        reset_peak(pid)
        ours, theirs = (partial(transferred, port, size) for port in (server.port, peer.port))
        pairs = alternate(rig.rounds, ours, theirs)
        grown = peak_rss(pid) - before
    for place, what in enumerate(("upload", "download")):
        rates = [(size / MEGABYTE / one[place], size / MEGABYTE / other[place]) for one, other in pairs]
        yield Figure(
            f"{what} of {size // MEGABYTE} MB",
            statistics.median(one for one, _ in rates),
            "MB/s",
            "Flask, to a plain file",
            statistics.median(other for _, other in rates),
            median_ratio(rates),
            bar=at_least(150),
        )
    yield Figure("… memory of the worker grows at most by", grown / MEGABYTE, "MB", bar=at_most(32))


def transferred(port: int, size: int) -> tuple[float, float]:
    """Return the seconds of an upload and of the download of the same bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began = time.perf_counter()
    file = upload(connection, os.urandom(PIECE), size, "bench.bin")
    uploaded = time.perf_counter()
    connection.request("GET", f"/v1/files/{file}/content", headers=KEY)
    answer = connection.getresponse()
    buffer, received = bytearray(PIECE), 0
    while count := answer.readinto(buffer):
        received += count
    seconds = time.perf_counter() - uploaded
    connection.close()
    if answer.status != 200 or received != size:
        raise BenchFailed(f"a download answered {answer.status} and {received} of {size} bytes")
    return uploaded - began, seconds


def upload(connection: http.client.HTTPConnection, piece: bytes, size: int, name: str) -> str:
    """Upload `size` bytes that repeat `piece`; return the file's id."""
    part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    head = f'{part}"purpose"\r\n\r\nassistants\r\n{part}"file"; filename="{name}"\r\n\r\n'.encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Authorization", KEY["Authorization"])
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + size + len(tail)))
    connection.endheaders(head)
    for start in range(0, size, len(piece)):
        connection.send(piece[: size - start])
    connection.send(tail)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BenchFailed(f"an upload answered {answer.status}: {body[:300]!r}")
    return str(orjson.loads(body)["id"])


def long_list(rig: Rig) -> Iterator[Figure]:
    """Measure a list of 10,000 files by pages of 100."""
    count = 10_000
    with rig.server("file-list") as server:
        uvloop.run(seed(server.folder / "astrolabe.db", count))
        early, late, deeper = uvloop.run(early_and_late(server.port, "/v1/files"))
    name = f"list {count:,} files by pages of {PAGE}: a late page against an early one"
    yield Figure(name, late, "ms", "early", early, deeper, bar=at_most_times(1.3))


async def seed(path: Path, count: int) -> None:
    """Insert `count` files into the store, without contents."""
    store = open_store(f"sqlite:///{path}")
    await store.open()
    for start in range(0, count, BATCH):
        values = [file_object(start + place) for place in range(BATCH)]
        await store.write(
            *(
                Insert(
                    Key(OPEN_PROJECT, FILES, value["id"]),
                    value,
                    {"content": new_id("content_"), "media_type": "text/plain"},
                    labels=frozenset({purpose_label("assistants")}),
                )
                for value in values
            )
        )
    await store.close()


def file_object(place: int) -> dict[str, Any]:
    """Return a file as it is stored."""
    return {
        "id": new_id("file-"),
        "object": "file",
        "purpose": "assistants",
        "filename": f"report-{place}.txt",
        "bytes": 12_345,
        "created_at": int(time.time()),
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    }


def ingestion(rig: Rig) -> Iterator[Figure]:
    """Measure the ingestion of 10 MB of text without an embedding model: parse, chunk, index."""
    size = rig.scaled(10) * MEGABYTE
    with rig.server("ingestion") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        file = upload(connection, text(size), size, "book.txt")
        connection.close()
        seconds = uvloop.run(ingested(server.port, file))
    yield Figure(
        f"ingest {size // MEGABYTE} MB of text, without embedding",
        size / MEGABYTE / seconds,
        "MB/s",
        bar=at_least(1),
    )


def text(size: int) -> bytes:
    """Return `size` bytes of different sentences."""
    sentences = (
        f"Chapter {number // WORDS}, sentence {number}: the {number * 7919 % 10_007}th star of the catalogue "
        f"rises {number % 60} minutes after the {number * 31 % 997}th.\n"
        for number in range(size // 80)
    )
    return "".join(sentences).encode()[:size]


async def ingested(port: int, file: str) -> float:
    """Return the seconds from adding a file to a new vector store to finding it there."""
    began = time.perf_counter()
    made = await ask(port, "POST", "/v1/vector_stores", {"file_ids": [file]})
    while made["status"] != "completed":
        await asyncio.sleep(0.05)
        made = await ask(port, "GET", f"/v1/vector_stores/{made['id']}")
    if made["file_counts"]["completed"] != 1:
        raise BenchFailed(f"the file was not ingested: {made['file_counts']}")
    return time.perf_counter() - began
