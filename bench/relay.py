"""Chat completions through the server, next to the same client asking the provider directly."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson
import uvloop

from bench.client import Answer, Tally, each_in_turn, request, streams, timed
from bench.figures import Figure, at_least, at_most, rate_figure
from bench.load import BenchFailed, Load, wrk
from bench.measuring import Rate, alternate, percentile
from bench.rig import Rig

PATH = "/v1/chat/completions"
QUESTION = {"model": "bench-100", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
STREAM = request("POST", PATH, {**QUESTION, "stream": True})
CHUNKS = 100
DIRECT = "provider, direct"


def completions(rig: Rig) -> Iterator[Figure]:
    """Measure chat completions per second, not streamed."""
    body = rig.room("completions") / "body.json"
    body.write_bytes(orjson.dumps(QUESTION))
    with rig.provider() as provider, rig.server("completions-server", provider) as server:
        pids = server.workers()
        ask_server = partial(load, server.root, rig.seconds, pids, body)
        ask_provider = partial(load, provider.root, rig.seconds, [], body)
        load(server.root, 1, pids, body)
        pairs = alternate(rig.rounds, ask_server, ask_provider)
    rates = [(one.rate, other.rate) for one, other in pairs]
    yield rate_figure("chat completions relayed, 16 connections", rates, DIRECT, at_least(3000))


def load(root: str, seconds: float, pids: list[int], body: Path) -> Load:
    """Run one round of completions."""
    return wrk(root + PATH, seconds, pids=pids, body=body)


def relayed_streams(rig: Rig) -> Iterator[Figure]:
    """Measure streams of 100 chunks per second."""
    with rig.provider() as provider, rig.server("streams-server", provider) as server:
        pids = server.workers()
        ask_server = partial(stream_load, server.port, rig.seconds, pids, STREAM)
        ask_provider = partial(stream_load, provider.port, rig.seconds, [], STREAM)
        ask_server()
        pairs = alternate(rig.rounds, ask_server, ask_provider)
    yield rate_figure(f"streams of {CHUNKS} chunks relayed, 16 connections", pairs, DIRECT, at_least(700))


def stream_load(port: int, seconds: float, pids: list[int], body: bytes) -> Rate:
    """Run one round of streams and check the number of their events."""

    async def measure() -> tuple[Rate, Tally]:
        return await timed(pids, lambda: streams(port, body, 16, seconds))

    rate, tally = uvloop.run(measure())
    if tally.events < CHUNKS * tally.streams:
        raise BenchFailed(f"{tally.streams} streams of {CHUNKS} chunks came to only {tally.events} events")
    return rate


def added_latency(rig: Rig) -> Iterator[Figure]:
    """Measure the time that the server adds to a completion, and to a stream's first byte, for one client."""
    with rig.provider(1) as provider, rig.server("latency-server", provider) as server:
        for name, ask in (
            ("added to a chat completion", whole_answers),
            ("added to the time to first byte", first_bytes),
        ):
            count = rig.scaled(200)
            ask(server.port, count)
            pairs = alternate(10, partial(ask, server.port, count), partial(ask, provider.port, count))
            ours = [1000 * one for round, _ in pairs for one in round]
            theirs = [1000 * one for _, round in pairs for one in round]
            for share, bar in ((0.5, at_most(0.5)), (0.99, at_most(3))):
                added = percentile(ours, share) - percentile(theirs, share)
                figure = f"{name}, one client, p{100 * share:.0f}"
                yield Figure(figure, added, "ms", DIRECT, percentile(theirs, share), bar=bar)


def whole_answers(port: int, count: int) -> list[float]:
    """Return the seconds that completions take which are requested one after the other."""
    answers: list[Answer] = uvloop.run(each_in_turn(port, [request("POST", PATH, QUESTION)] * count))
    if any(answer.status != 200 for answer in answers):
        raise BenchFailed(f"a completion was refused: {answers[-1].body[:300]!r}")
    return [answer.seconds for answer in answers]


def first_bytes(port: int, count: int) -> list[float]:
    """Return the seconds to the first byte of streams requested one after the other."""
    answers: list[Answer] = uvloop.run(each_in_turn(port, [STREAM] * count))
    if not all(answer.is_whole for answer in answers):
        raise BenchFailed("a stream did not come to its end")
    return [answer.first for answer in answers]
