"""A run that kills every worker that works on it ends as failed, and its thread is free."""

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.client import Application
from tests.provider import ProviderProcess
from tests.server import Server


@pytest.mark.server
async def test_a_run_that_kills_its_workers_fails_and_its_thread_is_free(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    """Its worker is killed whenever the provider hears from the run; one takeover is allowed."""
    deadly = "script: " + json.dumps({"tag": "deadly", "turns": [{"text": "never said", "wait": 3600}]})
    environment = {
        "OPENAI_API_KEY": "sk-provider",
        "OPENAI_BASE_URL": provider.url,
        "ASTROLABE_MAX_TAKEOVERS": "1",
    }
    with Server(tmp_path, workers=1, **environment) as server:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            application = Application(server.url, session)

            async def requests() -> int:
                url = provider.url.removesuffix("/v1") + "/_requests?tag=deadly"
                async with session.get(url) as answer:
                    return len(await answer.json())

            assistant = (await application.call("POST", "/assistants", {"model": "m"}))["id"]
            thread = {"messages": [{"role": "user", "content": deadly}]}
            body = {"assistant_id": assistant, "thread": thread}
            run = await application.call("POST", "/threads/runs", body)
            path = f"/threads/{run['thread_id']}"
            for attempt in (1, 2):
                async with asyncio.timeout(40):
                    while await requests() < attempt:
                        await asyncio.sleep(0.05)
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)

            run = await application.settled(f"{path}/runs/{run['id']}")
            assert run["status"] == "failed"
            assert run["last_error"] == {
                "code": "server_error",
                "message": "The run was given up: the server's worker was lost each time it ran it.",
            }
            assert await requests() == 2
            harmless = "script: " + json.dumps({"turns": [{"text": "Still here."}]})
            message = {"role": "user", "content": harmless}
            await application.call("POST", f"{path}/messages", message)
            run = await application.call("POST", f"{path}/runs", {"assistant_id": assistant})
            run = await application.settled(f"{path}/runs/{run['id']}")
            assert run["status"] == "completed"
