"""Responses: what the server adds to its provider's time, beside LiteLLM's own, and chains of them."""

import asyncio
import statistics
from collections.abc import Iterator
from functools import partial

import uvloop

from bench.client import Connection, each_in_turn, request
from bench.figures import Figure, at_least, at_least_times, at_most, at_most_times, rate_figure
from bench.load import BenchFailed
from bench.measuring import MEGABYTE, alternate, memory
from bench.proxy import PEER, proxy
from bench.relay import CHUNKS, DIRECT, QUESTION, STREAM, stream_load
from bench.rig import Rig
from bench.runs import added, script, whole_answers

RESPONSES = "/v1/responses"
ASKED = {"model": QUESTION["model"], "input": "Why is the sky blue?"}
RESPONSE_STREAM = request("POST", RESPONSES, {**ASKED, "stream": True})
TURNS = 50
CHAT_ONLY = "deepseek"
"""A provider that LiteLLM asks for chat completions, as this server does."""


def streamed(rig: Rig) -> Iterator[Figure]:
    """Measure streamed responses of 100 chunks next to the provider's own streams."""
    with rig.provider() as provider, rig.server("responses-server", provider) as server:
        pids = server.workers()
        whole_answers(server.port, [RESPONSE_STREAM] * 10)
        pairs = alternate(
            3 * rig.rounds,
            partial(whole_answers, server.port, [RESPONSE_STREAM] * 10),
            partial(whole_answers, provider.port, [STREAM] * 10),
        )
        rates = alternate(
            rig.rounds,
            partial(stream_load, server.port, rig.seconds, pids, RESPONSE_STREAM),
            partial(stream_load, provider.port, rig.seconds, [], STREAM),
        )
    name = f"a streamed response of {CHUNKS} chunks adds to its provider's time, p50"
    yield added(name, pairs, "seconds", at_most(6))
    yield added("… to the first byte, p50", pairs, "first")
    name = f"streamed and stored responses of {CHUNKS} chunks, 16 connections"
    yield rate_figure(name, rates, DIRECT, at_least(100))


def against_litellm(rig: Rig) -> Iterator[Figure]:
    """Measure streamed responses next to those of LiteLLM's proxy, one worker each, same provider."""
    with (
        rig.provider() as provider,
        rig.server("responses-litellm-server", provider) as server,
        proxy(rig, provider.url, CHAT_ONLY) as port,
    ):
        pids = server.workers()
        stream_load(port, 2, [], RESPONSE_STREAM)  # its first requests take seconds
        stream_load(server.port, 1, pids, RESPONSE_STREAM)
        pairs = alternate(
            rig.rounds,
            partial(stream_load, server.port, rig.seconds, pids, RESPONSE_STREAM),
            partial(stream_load, port, 2 * rig.seconds, [], RESPONSE_STREAM),
        )
    name = f"streamed responses of {CHUNKS} chunks, beside {PEER}"
    yield rate_figure(name, pairs, PEER, at_least_times(25))


def chain(rig: Rig) -> Iterator[Figure]:
    """Measure the last of 50 responses that continue each other next to the second."""
    with rig.provider(1) as provider, rig.server("chain-server", provider) as server:
        rounds = rig.scaled(20)
        seconds = [uvloop.run(turns_of_chain(server.port)) for _ in range(rounds)]
    second, last = (statistics.median(each[at] for each in seconds) * 1000 for at in (1, TURNS - 1))
    name = f"response {TURNS} of a chain of previous_response_id"
    yield Figure(name, last, "ms", "the second", second, last / second, bar=at_most_times(1.3))


async def turns_of_chain(port: int) -> list[float]:
    """Return the seconds of each response of a chain."""
    seconds, previous = [], None
    async with Connection(port) as connection:
        for _ in range(TURNS):
            asked = {**ASKED, "model": "gpt-4o", "previous_response_id": previous}
            answer = await connection.send(request("POST", RESPONSES, asked))
            previous = answer.json()["id"]
            seconds.append(answer.seconds)
    return seconds


def open_streams(rig: Rig) -> Iterator[Figure]:
    """Measure the memory of a process with a thousand open streams of responses."""
    count, pieces = rig.scaled(1000), 16
    asked = script(text="word " * pieces, chunks=pieces, delay=0.5)["content"]
    body = request("POST", RESPONSES, {"model": "gpt-4o", "input": asked, "stream": True})
    with rig.provider() as provider, rig.server("responses-open-server", provider) as server:
        (worker,) = server.workers()
        held = asyncio.run(memory_with_open(server.port, worker, body, count))
    bar = at_most(150)
    yield Figure(f"a worker with {count:,} open streams of responses, RSS", held / MEGABYTE, "MB", bar=bar)


async def memory_with_open(port: int, worker: int, body: bytes, count: int) -> int:
    """Return a worker's memory while that many streams are open, in bytes."""
    opened = [asyncio.create_task(each_in_turn(port, [body])) for _ in range(count)]
    await asyncio.sleep(4)  # until all are open
    if any(task.done() for task in opened):
        raise BenchFailed("streams ended before the memory was read")
    held = memory(worker).rss
    answers = [answer for (answer,) in await asyncio.gather(*opened)]
    if not all(answer.is_whole for answer in answers):
        raise BenchFailed("not every stream of a response came to its end")
    return held
