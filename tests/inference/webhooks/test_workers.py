"""Webhooks of a real server with two workers."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from tests.inference.webhooks.receiver import HANGS, SECRET, receiver_at
from tests.provider import ProviderProcess
from tests.server import Server, command


def server(folder: Path, provider: ProviderProcess, *hosts: str) -> Server:
    """A server that is not started, with a webhook at each host."""
    file = folder / "webhooks.yaml"
    endpoints = [{"url": f"http://{host}/hook", "secret": "${HOOK_SECRET}"} for host in hosts]
    file.write_text(json.dumps({"projects": {"default": endpoints}, "private_hosts": hosts}))
    return Server(
        folder,
        OPENAI_API_KEY="sk-provider",
        OPENAI_BASE_URL=provider.url,
        ASTROLABE_WEBHOOKS=str(file),
        HOOK_SECRET=SECRET,
    )


@pytest.mark.server
async def test_each_background_response_of_two_workers_has_its_event(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    async with receiver_at() as receiver:
        with server(tmp_path, provider, receiver.host) as running:
            async with AsyncOpenAI(base_url=running.url, api_key="any", max_retries=0) as client:
                created = await asyncio.gather(
                    *(client.responses.create(model="m", input="hello", background=True) for _ in range(40))
                )
                got = await receiver.wait(40)
    assert {each.event().data.id for each in got} == {response.id for response in created}
    assert {each.event().type for each in got} == {"response.completed"}


@pytest.mark.server
async def test_a_delivery_goes_on_after_its_worker_was_killed(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    """Both workers are killed while the receiver lets the first delivery wait."""
    async with receiver_at(HANGS) as receiver:
        with server(tmp_path, provider, receiver.host) as running:
            async with AsyncOpenAI(base_url=running.url, api_key="any", max_retries=0) as client:
                response = await client.responses.create(model="m", input="hello", background=True)
                await receiver.wait()
                for worker in running.workers():
                    os.kill(worker, signal.SIGKILL)
                first, second = await receiver.wait(2, seconds=30)
    assert (first.id, first.body) == (second.id, second.body)
    assert second.event().data.id == response.id


def test_a_wrong_file_stops_the_start_and_names_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    file.write_text("projects:\n  default:\n    - {url: http://10.0.0.1, secret: whsec_}\n")
    refused = command(tmp_path, "serve", ASTROLABE_WEBHOOKS=str(file))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"astrolabe: ASTROLABE_WEBHOOKS: {file}, line 3: projects.default.0.url")
    assert refused.stderr.count("\n") == 1
