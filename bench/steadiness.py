"""Whether a worker's memory grows with the number of requests that it has answered."""

import asyncio
import random
from collections.abc import Callable, Iterator

import uvloop

from bench.client import Connection, ask, request
from bench.figures import Figure, at_most_times
from bench.load import BenchFailed
from bench.measuring import MEGABYTE, memory
from bench.reads import ASSISTANT
from bench.relay import PATH
from bench.rig import Rig

REQUESTS = 100_000
EARLY = 10_000
CONNECTIONS = 16


def memory_after_requests(rig: Rig) -> Iterator[Figure]:
    """Measure a worker's memory after 100,000 requests of several kinds, next to that after 10,000."""
    early, late = rig.scaled(EARLY), rig.scaled(REQUESTS)
    with rig.provider() as provider, rig.server("steadiness-server", provider) as server:
        (pid,) = server.workers()
        make = uvloop.run(requests_of(server.port))
        uvloop.run(answered(server.port, make, 0, early))
        first = memory(pid).rss / MEGABYTE
        uvloop.run(answered(server.port, make, early, late))
        last = memory(pid).rss / MEGABYTE
    name = f"a worker's memory after {late:,} requests, RSS"
    bar = at_most_times(1.1)
    yield Figure(name, last, "MB", f"after {early:,}", first, last / first, bar=bar)


async def requests_of(port: int) -> Callable[[int], bytes]:
    """Return what makes the request of a number: no two completions are alike."""
    assistant = (await ask(port, "POST", "/v1/assistants", ASSISTANT))["id"]
    thread = (await ask(port, "POST", "/v1/threads", {}))["id"]
    draw = random.Random(15)  # the same requests in each run

    def make(number: int) -> bytes:
        text = f"Question {number}: " + "why is the sky blue? " * draw.randrange(1, 50)
        kind = draw.choices(
            ("chat", "stream", "stored", "get", "list", "post", "missing"), (60, 10, 5, 10, 5, 5, 5)
        )
        question = {
            "model": "bench-20",
            "messages": [{"role": "user", "content": text}],
            "user": f"u{number}",
        }
        match kind[0]:
            case "chat":
                return request("POST", PATH, question)
            case "stream":
                return request("POST", PATH, {**question, "stream": True})
            case "stored":
                return request("POST", PATH, {**question, "store": True})
            case "get":
                return request("GET", f"/v1/assistants/{assistant}")
            case "list":
                return request("GET", f"/v1/threads/{thread}/messages?limit=5")
            case "post":
                return request("POST", f"/v1/threads/{thread}/messages", {"role": "user", "content": text})
            case _:
                return request("GET", f"/v1/assistants/asst_{number}")

    return make


async def answered(port: int, make: Callable[[int], bytes], first: int, end: int) -> None:
    """Send the requests from number `first` to `end`; a connection is used for a hundred of them."""
    starts = iter(range(first, end, 100))

    async def some() -> None:
        for start in starts:
            async with Connection(port) as connection:
                for number in range(start, min(start + 100, end)):
                    answer = await connection.send(make(number))
                    if answer.status not in (200, 404):
                        raise BenchFailed(f"a request was refused: {answer.status} {answer.body[:300]!r}")

    await asyncio.gather(*(some() for _ in range(CONNECTIONS)))
