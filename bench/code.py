"""Code in sandboxes: the first call and later ones, and the memory and CPU time of fifty sandboxes."""

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvloop

from bench.client import Connection, ask, request
from bench.figures import Figure, at_most
from bench.load import BenchFailed
from bench.measuring import MEGABYTE, alternate, cpu_seconds, memory
from bench.rig import Rig
from inference.code.watch import descendants
from persistence.types import JSON

CODE = "print(6 * 7)"
IDLE_SECONDS = 5.0


def calls(rig: Rig) -> Iterator[Figure]:
    """Measure responses whose model runs code, next to the same two turns with no code."""
    with rig.provider(1) as provider, rig.server("code-server", provider) as server:
        asyncio.run(answered(server.port, response({"type": "auto"})))  # the trial, once a worker
        firsts = [seconds(server.port, {"type": "auto"}) for _ in range(2 * rig.rounds)]
        container = asyncio.run(made(server.port))
        seconds(server.port, container)
        pairs = alternate(
            5 * rig.rounds, partial(seconds, server.port, container), partial(seconds, server.port, None)
        )
    later, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
    first, added = statistics.median(firsts), 1000 * (later - plain)
    yield Figure("a response's first code call, in a new sandbox, p50", first, "s", bar=at_most(1.5))
    yield Figure("a later code call adds, p50", added, "ms", "without code", 1000 * plain, bar=at_most(50))


def fifty(rig: Rig) -> Iterator[Figure]:
    """Measure what idle sandboxes take: proportional memory, and CPU time."""
    count = rig.scaled(50)
    setting: dict[str, Any] = {"ASTROLABE_SANDBOXES": str(count)}
    with rig.provider(1) as provider, rig.server("sandboxes-server", provider, **setting) as server:
        (worker,) = server.workers()
        before = len(descendants(worker))
        took = uvloop.run(in_containers(server.port, count))
        inside = descendants(worker)
        cpu = cpu_seconds(inside)
        time.sleep(IDLE_SECONDS)
        idle = (cpu_seconds(inside) - cpu) / IDLE_SECONDS
        held = sum(memory(pid).pss for pid in inside) / count
    if len(inside) < before + 2 * count:
        raise BenchFailed(f"only {len(inside)} processes for {count} sandboxes")
    yield Figure(f"{count} sandboxes at once: until all have answered", took, "s")
    yield Figure("… memory of each, PSS", held / MEGABYTE, "MB")
    yield Figure("… CPU time of all in a second of idling", 1000 * idle, "ms", bar=at_most(10))


def response(container: str | JSON | None) -> JSON:
    """Return the body of a response whose model runs code in a container, or says two things."""
    call = {"calls": [{"name": "code_interpreter", "arguments": {"code": CODE}}]}
    turns = [{"text": "No code."}] if container is None else [call, {"text": "{tool}"}]
    body: JSON = {"model": "gpt-4o", "input": f"script: {json.dumps({'turns': turns})}"}
    if container is not None:
        body["tools"] = [{"type": "code_interpreter", "container": container}]
    return body


def seconds(port: int, container: str | JSON | None) -> float:
    """Return the seconds that a response takes."""
    began = time.perf_counter()
    asyncio.run(answered(port, response(container)))
    return time.perf_counter() - began


async def answered(port: int, body: JSON) -> None:
    """Ask for a response, whose code must have run."""
    answer = await ask(port, "POST", "/v1/responses", body)
    said = answer["output"][-1]["content"][0]["text"] if answer["status"] == "completed" else answer
    if "tools" in body and said != "42":
        raise BenchFailed(f"the code did not run: {said}")


async def made(port: int) -> str:
    """Create a container; return its id."""
    return str((await ask(port, "POST", "/v1/containers", {"name": "bench"}))["id"])


async def in_containers(port: int, count: int) -> float:
    """Run code in `count` new containers at once; return the seconds until all have answered."""
    body = request("POST", "/v1/responses", response({"type": "auto"}))
    began = time.perf_counter()

    async def one() -> None:
        async with Connection(port) as connection:
            answer = (await connection.send(body)).json()
            if answer.get("status") != "completed":
                raise BenchFailed(f"the code did not run: {answer}")

    await asyncio.gather(*(one() for _ in range(count)))
    return time.perf_counter() - began
