"""A client that follows its runs through kills, pauses and restarts of the server."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from persistence.types import JSON
from tests.chaos.faults import FaultInjector

Event = tuple[int, str, Any]

RETRIED = (aiohttp.ClientError, ConnectionError, TimeoutError)
SETTLED = {"requires_action", "cancelled", "completed", "failed", "incomplete", "expired"}
RETRY_SECONDS = 60.0
"""How long a request is retried without a fault: a restart takes a few seconds, a takeover up to fifteen."""


class Refused(Exception):
    """A response of 400 or more that is not worth a retry."""


class Application:
    """The API calls of one user."""

    def __init__(self, url: str, session: aiohttp.ClientSession, faults: FaultInjector | None = None) -> None:
        self._url = url
        self._session = session
        self._faults = faults

    async def call(self, method: str, path: str, body: JSON | None = None) -> JSON:
        """Send one request, once; raise what can be retried as one of RETRIED, the rest as Refused."""
        timeout = aiohttp.ClientTimeout(total=20)
        async with self._session.request(method, self._url + path, json=body, timeout=timeout) as answer:
            value = await answer.json()
            if answer.status in (500, 502, 503):
                raise TimeoutError(value)
            if answer.status >= 400:
                raise Refused(answer.status, value)
            return value

    async def until(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """Return the first value that `attempt` gives; retry while the server is away or the value is None."""
        started = time.monotonic()
        while True:
            with contextlib.suppress(*RETRIED):
                if (value := await attempt()) is not None:
                    return value
            calm = self._faults.seconds_of_calm if self._faults else math.inf
            if min(calm, time.monotonic() - started) > RETRY_SECONDS:
                raise TimeoutError
            await asyncio.sleep(0.2)

    async def get(self, path: str) -> JSON:
        return await self.until(lambda: self.call("GET", path))

    async def settled(self, path: str) -> JSON:
        """Return a run once it has settled, however long that takes."""
        while (run := await self.get(path))["status"] not in SETTLED:
            await asyncio.sleep(0.1)
        return run

    async def read(self, method: str, path: str, body: JSON | None, seen: list[Event]) -> bool:
        """Append a stream's events to `seen`; return whether the stream ended with `done`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=40)
        try:
            async with self._session.request(method, self._url + path, json=body, timeout=timeout) as answer:
                if answer.status >= 400:
                    return False
                frame: dict[str, str] = {}
                async for line in answer.content:
                    if not (text := line.decode().rstrip("\n")):
                        if _append(frame, seen):
                            return True
                        frame = {}
                        continue
                    name, _, value = text.partition(": ")
                    frame[name] = value
        except RETRIED:
            pass
        return False


def _append(frame: dict[str, str], seen: list[Event]) -> bool:
    """Append one frame; return whether it was the last. The error event of a stopping server has no id."""
    if "id" not in frame:
        return False
    done = frame["event"] == "done"
    seen.append((int(frame["id"]), frame["event"], frame["data"] if done else json.loads(frame["data"])))
    return done


class RunClient:
    """The client of one run: the script of its model, the events that it saw, and the run at its end."""

    def __init__(self, application: Application, assistant: str, turns: list[JSON], *, live: bool) -> None:
        self.turns = turns
        self.live = live
        self.seen: list[Event] = []
        self.run: JSON = {}
        self.thread = ""
        self._application = application
        self._assistant = assistant

    async def follow(self, tag: str) -> None:
        """Create the thread and the run and follow it to its end, whatever happens to the server."""
        said = "script: " + json.dumps({"tag": tag, "turns": self.turns})
        body = {"messages": [{"role": "user", "content": said}]}
        thread = await self._application.until(lambda: self._application.call("POST", "/threads", body))
        self.thread = thread["id"]
        await self._start()
        while (await self._settled())["status"] == "requires_action":
            await self._submit()

    @property
    def path(self) -> str:
        return f"/threads/{self.thread}/runs/{self.run['id']}"

    async def _start(self) -> None:
        """Start the only run of the thread; if the response is lost, find the run in the list."""
        runs = f"/threads/{self.thread}/runs"
        body = {"assistant_id": self._assistant, "stream": self.live}
        if self.live:
            await self._application.read("POST", runs, body, self.seen)

        async def found() -> JSON | None:
            listed = (await self._application.call("GET", runs))["data"]
            if listed:
                return listed[0]
            return None if self.live else await self._application.call("POST", runs, body)

        async def started() -> JSON | None:
            if self.live and not self.seen:
                await self._application.read("POST", runs, body, self.seen)
            return await found()

        self.run = await self._application.until(started)

    async def _settled(self) -> JSON:
        """Wait until the run settles; a client that lost its stream follows the event log."""
        if self.live:
            await self._application.until(self._followed)

        async def settled() -> JSON | None:
            run = await self._application.call("GET", self.path)
            return run if run["status"] in SETTLED else None

        self.run = await self._application.until(settled)
        return self.run

    async def _followed(self) -> bool | None:
        if self.seen and self.seen[-1][1] == "done":
            return True
        after = self.seen[-1][0] if self.seen else -1
        path = f"{self.path}/events?starting_after={after}"
        return True if await self._application.read("GET", path, None, self.seen) else None

    async def _submit(self) -> None:
        """Submit the outputs; if the response is lost, look at the run to see whether they arrived."""
        calls = self.run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": call["id"], "output": _answer(call)} for call in calls]
        body = {"tool_outputs": outputs, "stream": self.live}
        path = f"{self.path}/submit_tool_outputs"
        waiting = self.run

        async def submitted() -> bool | None:
            run = await self._application.call("GET", self.path)
            if run["required_action"] != waiting["required_action"]:
                return True
            if self.live:
                await self._application.read("POST", path, body, self.seen)
                return None if (self.seen[-1][1] == "done" and self._unchanged()) else True
            await self._application.call("POST", path, body)
            return True

        await self._application.until(submitted)

    def _unchanged(self) -> bool:
        return self.seen[-2][1] == "thread.run.requires_action" and (
            self.seen[-2][2]["required_action"] == self.run["required_action"]
        )


def _answer(call: JSON) -> str:
    return "sunny in " + json.loads(call["function"]["arguments"])["city"]
