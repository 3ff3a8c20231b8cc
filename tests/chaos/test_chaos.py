"""Two hundred runs on workers that are killed, paused and restarted: none is lost, none is told twice.

    ASTROLABE_CHAOS_SEED=7 ASTROLABE_CHAOS_SECONDS=300 ASTROLABE_CHAOS_RUNS=2000 pytest tests/chaos -s

The seed decides what is done to the server and when, as far as its own speed allows.
"""

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chaos.client import Application, Event, Talk
from tests.chaos.conductor import Conductor
from tests.provider import ProviderProcess
from tests.server import Server

JSON = dict[str, Any]

SEED = int(os.environ.get("ASTROLABE_CHAOS_SEED", "20261124"))
SECONDS = float(os.environ.get("ASTROLABE_CHAOS_SECONDS", "20"))
RUNS = int(os.environ.get("ASTROLABE_CHAOS_RUNS", "200"))
AT_ONCE = 100
CITIES = ("Paris", "Rome", "Oslo", "Cairo", "Lima")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def plain_turns(number: int, chance: random.Random) -> list[JSON]:
    words = " ".join(f"w{number}.{index}" for index in range(chance.randint(10, 40)))
    return [{"text": words, "wait": chance.uniform(0, 1), "delay": chance.uniform(0.01, 0.15)}]


def tool_turns(number: int, chance: random.Random) -> list[JSON]:
    cities = chance.sample(CITIES, 2)
    calls = [{"name": "get_weather", "arguments": {"city": city}} for city in cities]
    more = [{"name": "get_weather", "arguments": {"city": chance.choice(CITIES)}}]
    ending = {"text": f"Run {number}: it is {{tool}} today.", "delay": chance.uniform(0.01, 0.2)}
    return [{"calls": calls, "wait": chance.uniform(0, 1)}, {"calls": more, "delay": 0.05}, ending]


def expected_text(turns: list[JSON]) -> str:
    """What the last turn says: {tool} is the last output, of the second round's one call."""
    text: str = turns[-1]["text"]
    if len(turns) > 1:
        text = text.replace("{tool}", "sunny in " + turns[1]["calls"][0]["arguments"]["city"])
    return text


def said(events: list[Event], message: str) -> str:
    return "".join(
        data["delta"]["content"][0]["text"]["value"]
        for _, name, data in events
        if name == "thread.message.delta" and data["id"] == message
    )


async def check(application: Application, talk: Talk) -> int:
    """The thread against the script, the stored objects against what was sent; how often it was cut off."""
    run = await application.get(talk.path)
    assert run["status"] == "completed", run
    query = "?order=asc&limit=100"
    messages = (await application.get(f"/threads/{talk.thread}/messages{query}"))["data"]
    steps = (await application.get(f"{talk.path}/steps{query}"))["data"]
    log: list[Event] = []
    assert await application.read("GET", f"{talk.path}/events", None, log)

    answers = [each for each in messages if each["run_id"] == run["id"]]
    assert len(messages) == len(answers) + 1, "the user's message, and this run's"
    texts = {each["id"]: "".join(p["text"]["value"] for p in each["content"]) for each in answers}
    whole = [texts[each["id"]] for each in answers if each["status"] == "completed"]
    assert whole == [expected_text(talk.turns)], "one answer, and the script's"
    for message in answers:
        assert texts[message["id"]] == said(log, message["id"]), "stored is what was sent"
        if message["status"] != "completed":
            assert message["status"] == "incomplete"
            assert talk.live
            assert expected_text(talk.turns).startswith(texts[message["id"]])

    done = [each["type"] for each in steps if each["status"] == "completed"]
    assert done == [*["tool_calls"] * (len(talk.turns) - 1), "message_creation"], "no step twice or lost"
    assert {each["status"] for each in steps} <= {"completed", "failed"}
    assert run["usage"]["total_tokens"] == sum(each["usage"]["total_tokens"] for each in steps)

    numbers = [number for number, _, _ in log]
    assert numbers == sorted(set(numbers))
    told = {number: (name, data) for number, name, data in log}
    for number, name, data in talk.seen:
        assert name == "done" or told[number] == (name, data), "nobody saw what is not in the log"
    if talk.live:
        seen = [number for number, name, _ in talk.seen if name != "done"]
        assert seen == sorted(set(seen)), "nobody saw an event twice"
    return sum(each["status"] == "failed" for each in steps)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 6 + 240)
async def test_no_run_is_lost_told_twice_or_told_differently(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    print(f"seed {SEED}, {RUNS} runs, {SECONDS:g} s of trouble")
    chance = random.Random(SEED)
    environment = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": provider.url, "ASTROLABE_GRACE": "1"}
    with Server(tmp_path, workers=3, **environment) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            application = Application(server.url, session)
            body = {"model": "m", "tools": [WEATHER]}
            assistant = (await application.call("POST", "/assistants", body))["id"]
            gate = asyncio.Semaphore(AT_ONCE)
            talks = []
            for number in range(RUNS):
                turns = plain_turns(number, chance) if number % 2 else tool_turns(number, chance)
                talks.append(Talk(application, assistant, turns, live=number % 4 < 2))

            async def hold(number: int, talk: Talk) -> None:
                async with gate:
                    await talk.hold(f"chaos-{SEED}-{number}")

            conductor = Conductor(server, SEED)
            going = asyncio.gather(*(hold(number, talk) for number, talk in enumerate(talks)))
            try:
                await conductor.conduct(SECONDS)
                ended = time.monotonic()
                await going
            finally:
                print("\n".join(conductor.done))
            print(f"all runs at rest {time.monotonic() - ended:.1f} s after the last trouble")
            cut_off = [await check(application, talk) for talk in talks]
            print(f"{sum(cut_off)} steps were cut off and told as such, in {RUNS} runs")
            assert sum(cut_off) > 0, "no trouble met a run that was streamed"
