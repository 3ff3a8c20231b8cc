"""A run whose worker is lost waits at most fifteen seconds for another."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from persistence.types import JSON
from tests.chaos.client import Application, Event
from tests.provider import ProviderProcess
from tests.server import Server

BOUND = 15.0
WORDS = "word " * 40
DELAY = 0.05
ANSWER_SECONDS = 40 * DELAY


async def ended_run(application: Application, seen: list[Event]) -> JSON:
    """Wait for the end of the run that a stream has created, and return it."""
    run = next(data for _, name, data in seen if name == "thread.run.created")
    return await application.settled(f"/threads/{run['thread_id']}/runs/{run['id']}")


async def check_whole(application: Application, run: JSON) -> None:
    """Compare a completed run with its script: one whole answer, a log without gaps, no later change."""
    thread = f"/threads/{run['thread_id']}"
    messages = await application.get(f"{thread}/messages?run_id={run['id']}")
    whole = [each for each in messages["data"] if each["status"] == "completed"]
    assert [each["content"][0]["text"]["value"] for each in whole] == [WORDS]
    log: list[Event] = []
    assert await application.read("GET", f"{thread}/runs/{run['id']}/events", None, log)
    assert [number for number, _, _ in log] == list(range(len(log)))
    assert await application.get(f"{thread}/runs/{run['id']}") == run


@pytest.mark.server
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_the_runs_of_a_lost_worker_continue_within_fifteen_seconds(
    tmp_path: Path, provider: ProviderProcess, fault: signal.Signals
) -> None:
    """One of two workers is lost while both have runs; a paused one writes nothing after it resumes."""
    said = "script: " + json.dumps({"turns": [{"text": WORDS, "delay": DELAY}]})
    environment = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": provider.url}
    with Server(tmp_path, workers=2, **environment) as server:
        # No connection is kept: one to the worker that is stopped would never answer again.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            application = Application(server.url, session)
            assistant = (await application.call("POST", "/assistants", {"model": "m"}))["id"]
            body = {
                "assistant_id": assistant,
                "thread": {"messages": [{"role": "user", "content": said}]},
                "stream": True,
            }
            streams: list[list[Event]] = [[] for _ in range(12)]
            reading = [
                asyncio.create_task(application.read("POST", "/threads/runs", body, seen)) for seen in streams
            ]
            async with asyncio.timeout(20):
                while not all(len(seen) > 10 for seen in streams):
                    await asyncio.sleep(0.01)
            victim = server.workers()[0]
            os.kill(victim, fault)
            lost = time.monotonic()
            try:
                runs = await asyncio.gather(*(ended_run(application, seen) for seen in streams))
                took = time.monotonic() - lost
            finally:
                if fault == signal.SIGSTOP:
                    os.kill(victim, signal.SIGCONT)
            print(f"all runs ended {took:.1f} s after {fault.name}")
            assert {run["status"] for run in runs} == {"completed"}
            assert took <= BOUND + ANSWER_SECONDS + 2
            await asyncio.gather(*reading)
            for run in runs:
                await check_whole(application, run)
