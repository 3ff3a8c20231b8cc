"""Two hundred runs on workers that are killed, paused and restarted: none is lost, none runs twice.

    ASTROLABE_CHAOS_SEED=7 ASTROLABE_CHAOS_SECONDS=300 ASTROLABE_CHAOS_RUNS=2000 pytest tests/chaos -s

The seed decides which faults are injected and when, as far as the speed of the server allows.
"""

import asyncio
import os
import random
import time
from pathlib import Path

import aiohttp
import pytest

from persistence.types import JSON
from tests.chaos.client import Application, Event, RunClient
from tests.chaos.faults import FaultInjector, attacked_server
from tests.provider import ProviderProcess

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
    """Return the text of the last turn; {tool} is the output of the second turn's only call."""
    text: str = turns[-1]["text"]
    if len(turns) > 1:
        text = text.replace("{tool}", "sunny in " + turns[1]["calls"][0]["arguments"]["city"])
    return text


def streamed_text(events: list[Event], message: str) -> str:
    return "".join(
        data["delta"]["content"][0]["text"]["value"]
        for _, name, data in events
        if name == "thread.message.delta" and data["id"] == message
    )


async def check(application: Application, client: RunClient) -> int:
    """Compare the thread with the script and the stored objects with the events; return the interrupted steps."""
    run = await application.get(client.path)
    assert run["status"] == "completed", run
    query = "?order=asc&limit=100"
    messages = (await application.get(f"/threads/{client.thread}/messages{query}"))["data"]
    steps = (await application.get(f"{client.path}/steps{query}"))["data"]
    log: list[Event] = []
    assert await application.read("GET", f"{client.path}/events", None, log)

    answers = [each for each in messages if each["run_id"] == run["id"]]
    assert len(messages) == len(answers) + 1, "the thread holds the user's message and the run's messages"
    texts = {each["id"]: "".join(p["text"]["value"] for p in each["content"]) for each in answers}
    whole = [texts[each["id"]] for each in answers if each["status"] == "completed"]
    assert whole == [expected_text(client.turns)], "one complete answer, as the script has it"
    for message in answers:
        assert texts[message["id"]] == streamed_text(log, message["id"]), (
            "the stored text is the streamed text"
        )
        if message["status"] != "completed":
            assert message["status"] == "incomplete"
            assert client.live
            assert expected_text(client.turns).startswith(texts[message["id"]])

    done = [each["type"] for each in steps if each["status"] == "completed"]
    assert done == [*["tool_calls"] * (len(client.turns) - 1), "message_creation"], (
        "no step is lost or repeated"
    )
    assert {each["status"] for each in steps} <= {"completed", "failed"}
    assert run["usage"]["total_tokens"] == sum(each["usage"]["total_tokens"] for each in steps)

    numbers = [number for number, _, _ in log]
    assert numbers == sorted(set(numbers))
    logged = {number: (name, data) for number, name, data in log}
    for number, name, data in client.seen:
        assert name == "done" or logged[number] == (name, data), "every event that a client saw is in the log"
    if client.live:
        seen = [number for number, name, _ in client.seen if name != "done"]
        assert seen == sorted(set(seen)), "no client saw an event twice"
    return sum(each["status"] == "failed" for each in steps)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 6 + 240)
async def test_no_run_is_lost_repeated_or_streamed_differently(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    print(f"seed {SEED}, {RUNS} runs, {SECONDS:g} s of faults")
    chance = random.Random(SEED)
    with attacked_server(tmp_path, provider, SECONDS) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            faults = FaultInjector(server, SEED)
            application = Application(server.url, session, faults)
            body = {"model": "m", "tools": [WEATHER]}
            assistant = (await application.call("POST", "/assistants", body))["id"]
            gate = asyncio.Semaphore(AT_ONCE)
            clients = []
            for number in range(RUNS):
                turns = plain_turns(number, chance) if number % 2 else tool_turns(number, chance)
                clients.append(RunClient(application, assistant, turns, live=number % 4 < 2))

            async def follow(number: int, client: RunClient) -> None:
                async with gate:
                    await client.follow(f"chaos-{SEED}-{number}")

            running = asyncio.gather(*(follow(number, client) for number, client in enumerate(clients)))
            try:
                await faults.inject(SECONDS)
                ended = time.monotonic()
                await running
            finally:
                print("\n".join(faults.record))
            print(f"all runs settled {time.monotonic() - ended:.1f} s after the last fault")
            interrupted = [await check(application, client) for client in clients]
            print(f"{sum(interrupted)} steps were interrupted and marked failed, in {RUNS} runs")
            assert sum(interrupted) > 0, "no fault hit a streamed run"
