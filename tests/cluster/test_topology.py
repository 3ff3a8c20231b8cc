"""The topology of deploy/ as processes: three nodes, two replicas of two workers, nginx in front."""

import asyncio
import collections
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.cassandra.cluster import Node
from tests.cluster.conftest import revive
from tests.fixtures.nginx import running_nginx
from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

RUNS, WRITERS = 200, 50
AT_ONCE = 20
RETRY_SECONDS = 10.0
"""The longest time for which a client may have to retry."""

ENDED = {"completed", "failed", "cancelled", "incomplete", "expired"}


@pytest.fixture
def replicas(tmp_path: Path, provider: ProviderProcess, cluster_url: str) -> Iterator[list[Server]]:
    """Two servers of two workers each, on the same cluster."""
    servers = []
    for number in range(2):
        folder = tmp_path / f"replica{number}"
        folder.mkdir()
        servers.append(
            Server(folder, ASTROLABE_STORE=cluster_url, OPENAI_API_KEY="sk-any", OPENAI_BASE_URL=provider.url)
        )
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def front(tmp_path: Path, replicas: list[Server]) -> Iterator[str]:
    """The URL of nginx, with the configuration that deploy/ ships."""
    with running_nginx(tmp_path, [replica.port for replica in replicas]) as root:
        yield root


@dataclass
class Client:
    """A client that retries, as OpenAI's SDK does, and records its longest time of errors."""

    session: aiohttp.ClientSession
    root: str
    longest: float = 0.0
    attempts: str = ""
    retried: collections.Counter[str] = field(default_factory=collections.Counter)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        began, failing = time.monotonic(), None
        tried: list[str] = []
        while True:
            reason = None
            try:
                async with self.session.request(method, f"{self.root}/v1{path}", json=body) as answer:
                    if answer.status < 500 and answer.status not in (409, 429):
                        assert answer.status == 200, await answer.text()
                        value = await answer.json()
                        if failing is not None and (span := time.monotonic() - failing) > self.longest:
                            self.longest = span
                            self.attempts = f"{method} {path}: {', '.join(tried)}, 200 after {time.monotonic() - began:.1f} s"
                        return value
                    reason = str(answer.status)
                    assert set(await answer.json()) == {"error"}
                    assert answer.status != 503 or answer.headers["Retry-After"] == "1"
            except (aiohttp.ClientError, TimeoutError) as exc:
                reason = type(exc).__name__
            failing = failing or time.monotonic()
            tried.append(f"{reason} after {time.monotonic() - began:.1f} s")
            self.retried[reason] += 1
            assert time.monotonic() - began < 120, f"{method} {path}: {reason}"
            await asyncio.sleep(0.2)

    async def all(self, path: str) -> list[Any]:
        """Read every object of a list, page by page."""
        found: list[Any] = []
        while True:
            after = f"&after={found[-1]['id']}" if found else ""
            page = await self.ask("GET", f"{path}?limit=100&order=asc{after}")
            found += page["data"]
            if not page["has_more"]:
                return found


@pytest.fixture
async def client(front: str) -> AsyncIterator[Client]:
    headers = {"Authorization": "Bearer any", "OpenAI-Beta": "assistants=v2"}
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        yield Client(session, front)


@dataclass
class Load:
    """The requests of the client, and what was acknowledged."""

    client: Client
    assistant: str
    threads: list[str] = field(default_factory=list)
    messages: dict[str, list[str]] = field(default_factory=dict)
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, number: int) -> None:
        """Add messages to a new thread until `stop` is set."""
        thread = (await self.client.ask("POST", "/threads", {}))["id"]
        kept = self.messages.setdefault(thread, [])
        while not self.stop.is_set():
            body = {"role": "user", "content": f"message {len(kept)} of writer {number}"}
            kept.append((await self.client.ask("POST", f"/threads/{thread}/messages", body))["id"])
            await asyncio.sleep(1)

    async def run(self, limit: asyncio.Semaphore) -> None:
        """Start a run and wait for its end."""
        async with limit:
            body = {
                "assistant_id": self.assistant,
                "thread": {"messages": [{"role": "user", "content": "Say something."}]},
            }
            run = await self.client.ask("POST", "/threads/runs", body)
            while run["status"] not in ENDED:
                await asyncio.sleep(0.5)
                run = await self.client.ask("GET", f"/threads/{run['thread_id']}/runs/{run['id']}")
            self.runs[run["id"]] = (run["thread_id"], run["status"])

    async def check(self) -> None:
        """Check that everything that was acknowledged exists exactly once."""
        for thread, acknowledged in self.messages.items():
            kept = [message["id"] for message in await self.client.all(f"/threads/{thread}/messages")]
            assert len(kept) == len(set(kept))
            assert set(acknowledged) <= set(kept)
            assert [id for id in kept if id in set(acknowledged)] == acknowledged
        assert {status for _, status in self.runs.values()} == {"completed"}
        for run, (thread, _) in self.runs.items():
            messages = await self.client.all(f"/threads/{thread}/messages")
            assert [message["role"] for message in messages] == ["user", "assistant"]
            assert messages[-1]["run_id"] == run
            assert messages[-1]["content"][0]["text"]["value"] == "You said: Say something."


async def test_nothing_acknowledged_is_lost_when_a_node_and_a_replica_die(
    client: Client, all_up: list[Node], replicas: list[Server]
) -> None:
    assistant = await client.ask("POST", "/assistants", {"model": "m"})
    load = Load(client, assistant["id"])
    limit = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(load.write(number)) for number in range(WRITERS)]
        runs = [group.create_task(load.run(limit)) for _ in range(RUNS)]
        await reach(load, RUNS // 5)
        all_up[1].kill(signal.SIGKILL)
        await reach(load, 2 * RUNS // 5)
        revival = asyncio.create_task(asyncio.to_thread(revive, all_up[1]))
        await reach(load, 3 * RUNS // 5)
        replicas[0].kill()
        await reach(load, 4 * RUNS // 5)
        await revival
        await asyncio.to_thread(replicas[0].start)
        await asyncio.gather(*runs)
        load.stop.set()
        await asyncio.gather(*writers)
    await load.check()
    acknowledged = sum(map(len, load.messages.values()))
    print(
        f"{acknowledged} messages, {len(load.runs)} runs; retried for {client.longest:.1f} s at most: "
        f"{client.attempts}; all: {dict(client.retried)}"
    )
    assert len(load.runs) == RUNS
    assert client.longest < RETRY_SECONDS
    until(lambda: all(map(ready, replicas)), seconds=20)


def ready(server: Server) -> bool:
    with urllib.request.urlopen(f"{server.root}/readyz", timeout=5) as response:
        return bool(response.status == 200)


async def reach(load: Load, runs: int) -> None:
    """Wait until that many runs have ended."""
    deadline = time.monotonic() + 300
    while len(load.runs) < runs:
        assert time.monotonic() < deadline, f"{len(load.runs)} of {runs} runs"
        await asyncio.sleep(0.1)
