"""Two hundred background responses with tools on workers that are killed, paused and restarted.

ASTROLABE_CHAOS_SEED=7 ASTROLABE_CHAOS_SECONDS=300 ASTROLABE_CHAOS_RUNS=2000 pytest tests/chaos -s
"""

import asyncio
import json
import random
from pathlib import Path

import aiohttp
import pytest

from persistence.types import JSON
from tests.chaos.client import RETRIED, Application
from tests.chaos.faults import FaultInjector, attacked_server
from tests.chaos.test_chaos import AT_ONCE, CITIES, RUNS, SECONDS, SEED, WEATHER
from tests.provider import ProviderProcess

ENDED = {"completed", "failed", "incomplete", "cancelled"}
TERMINAL = (b"event: response.completed\n", b"event: response.failed\n", b"event: response.incomplete\n")
TOOLS = [{"type": "function", **WEATHER["function"]}]


class ResponseClient:
    """A client of a chain of responses: the first calls a function, the second says what it returned."""

    def __init__(
        self, application: Application, url: str, session: aiohttp.ClientSession, number: int
    ) -> None:
        chance = random.Random(SEED * 100_000 + number)
        self.city = chance.choice(CITIES)
        self.text = f"Response {number}: it is {{tool}} " + "today " * chance.randint(5, 30)
        self.turns = [
            {
                "calls": [{"name": "get_weather", "arguments": {"city": self.city}}],
                "wait": chance.uniform(0, 1),
            },
            {"text": self.text, "delay": chance.uniform(0.01, 0.1)},
        ]
        self.streams = number % 2 == 0
        self.responses: list[JSON] = []
        self.seen: list[list[bytes]] = []
        self._application = application
        self._url, self._session = url, session

    async def run(self) -> None:
        said = "script: " + json.dumps({"turns": self.turns})
        first = await self._respond({"input": said})
        call = next(item for item in first["output"] if item["type"] == "function_call")
        output = {
            "type": "function_call_output",
            "call_id": call["call_id"],
            "output": f"sunny in {self.city}",
        }
        await self._respond({"input": [output], "previous_response_id": first["id"]})

    async def _respond(self, fields: JSON) -> JSON:
        body = {"model": "m", "background": True, "stream": self.streams, "tools": TOOLS, **fields}
        frames: list[bytes] = []

        async def created() -> str | None:
            if not self.streams:
                return str((await self._application.call("POST", "/responses", body))["id"])
            frames.clear()
            await self.read("POST", "/responses", body, frames)
            return _event(frames[0])["response"]["id"] if frames else None

        id = await self._application.until(created)

        async def followed() -> bool | None:
            if frames and frames[-1].startswith(TERMINAL):
                return True
            after = f"&starting_after={_event(frames[-1])['sequence_number']}" if frames else ""
            await self.read("GET", f"/responses/{id}?stream=true{after}", None, frames)
            return None

        if self.streams:
            await self._application.until(followed)

        async def ended() -> JSON | None:
            response = await self._application.call("GET", f"/responses/{id}")
            return response if response["status"] in ENDED else None

        self.responses.append(await self._application.until(ended))
        self.seen.append(frames)
        return self.responses[-1]

    async def read(self, method: str, path: str, body: JSON | None, frames: list[bytes]) -> None:
        """Append a stream's frames, without comments and the error of a stopping server."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=40)
        held = b""
        try:
            async with self._session.request(method, self._url + path, json=body, timeout=timeout) as answer:
                if answer.status >= 400:
                    return
                async for piece in answer.content.iter_any():
                    *whole, held = (held + piece).split(b"\n\n")
                    frames += [each + b"\n\n" for each in whole if each.startswith(b"event: response.")]
        except RETRIED:
            pass


def _event(frame: bytes) -> JSON:
    event: JSON = json.loads(frame.split(b"\ndata: ", 1)[1])
    return event


async def check(client: ResponseClient, chance: random.Random) -> int:
    """Compare what a client saw with the log, the log with the stored response, and that with the script."""
    for response, seen in zip(client.responses, client.seen, strict=True):
        assert response["status"] == "completed", response
        whole: list[bytes] = []
        await client.read("GET", f"/responses/{response['id']}?stream=true", None, whole)
        events = [_event(frame) for frame in whole]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert sum(frame.startswith(TERMINAL) for frame in whole) == 1, "it ends once"
        assert events[-1]["response"] == response
        assert seen == (whole if client.streams else []), "a client that resumed saw each event once"
        after = chance.randrange(len(whole))
        rest: list[bytes] = []
        path = f"/responses/{response['id']}?stream=true&starting_after={after}"
        await client.read("GET", path, None, rest)
        assert rest == whole[after + 1 :]
    first, last = client.responses
    assert [item["type"] for item in first["output"]] == ["function_call"]
    said = [part["text"] for item in last["output"] for part in item["content"]]
    assert said == [client.text.replace("{tool}", f"sunny in {client.city}")]
    return sum(b'"status":"incomplete"' in frame for frames in client.seen for frame in frames)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 6 + 240)
async def test_no_response_is_lost_repeated_or_streamed_differently(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    print(f"seed {SEED}, {RUNS} chains of two responses, {SECONDS:g} s of faults")
    with attacked_server(tmp_path, provider, SECONDS) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            faults = FaultInjector(server, SEED)
            application = Application(server.url, session, faults)
            gate = asyncio.Semaphore(AT_ONCE)
            clients = [ResponseClient(application, server.url, session, number) for number in range(RUNS)]

            async def follow(client: ResponseClient) -> None:
                async with gate:
                    await client.run()

            running = asyncio.gather(*(follow(client) for client in clients))
            try:
                await faults.inject(SECONDS)
                await running
            finally:
                print("\n".join(faults.record))
            chance = random.Random(SEED)
            interrupted = [await check(client, chance) for client in clients]
            print(f"{sum(interrupted)} items were interrupted, in {2 * RUNS} responses")
            assert sum(interrupted) > 0, "no fault hit a streamed response"
