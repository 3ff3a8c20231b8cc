"""An application that survives its server: it follows its runs through kills, pauses and restarts."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

JSON = dict[str, Any]
Event = tuple[int, str, Any]

TROUBLE = (aiohttp.ClientError, ConnectionError, TimeoutError)
RESTING = {"requires_action", "cancelled", "completed", "failed", "incomplete", "expired"}
PATIENCE = 60.0
"""Seconds in which a request is tried again: a restart takes a few, a takeover up to fifteen."""


class Refused(Exception):
    """An answer of 400 and more, other than those that say: try again."""


class Application:
    """One user's calls of the API."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def call(self, method: str, path: str, body: JSON | None = None) -> JSON:
        """One request, once: trouble and refusals are the caller's."""
        timeout = aiohttp.ClientTimeout(total=20)
        async with self._session.request(method, self._url + path, json=body, timeout=timeout) as answer:
            value = await answer.json()
            if answer.status in (500, 502, 503):
                raise TimeoutError(value)
            if answer.status >= 400:
                raise Refused(answer.status, value)
            return value

    async def until(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """What `attempt` gives at last; it is made again while the server is away, or it gives nothing."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    value = await attempt()
                except TROUBLE:
                    value = None
                if value is not None:
                    return value
                await asyncio.sleep(0.2)

    async def get(self, path: str) -> JSON:
        return await self.until(lambda: self.call("GET", path))

    async def read(self, method: str, path: str, body: JSON | None, seen: list[Event]) -> bool:
        """Add a stream's events to those seen; whether it came to its end."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=40)
        try:
            async with self._session.request(method, self._url + path, json=body, timeout=timeout) as answer:
                if answer.status >= 400:
                    return False
                frame: dict[str, str] = {}
                async for line in answer.content:
                    if not (text := line.decode().rstrip("\n")):
                        if _take(frame, seen):
                            return True
                        frame = {}
                        continue
                    name, _, value = text.partition(": ")
                    frame[name] = value
        except TROUBLE:
            pass
        return False


def _take(frame: dict[str, str], seen: list[Event]) -> bool:
    """Note one frame; whether it was the last. What a stopping server says of itself has no id."""
    if "id" not in frame:
        return False
    done = frame["event"] == "done"
    seen.append((int(frame["id"]), frame["event"], frame["data"] if done else json.loads(frame["data"])))
    return done


class Talk:
    """One run: what its script says, what its client saw, and how it came to its end."""

    def __init__(self, application: Application, assistant: str, turns: list[JSON], *, live: bool) -> None:
        self.turns = turns
        self.live = live
        self.seen: list[Event] = []
        self.run: JSON = {}
        self.thread = ""
        self._application = application
        self._assistant = assistant

    async def hold(self, tag: str) -> None:
        """From the thread's creation to the run's end, whatever happens to the server."""
        said = "script: " + json.dumps({"tag": tag, "turns": self.turns})
        body = {"messages": [{"role": "user", "content": said}]}
        thread = await self._application.until(lambda: self._application.call("POST", "/threads", body))
        self.thread = thread["id"]
        await self._start()
        while (await self._rested())["status"] == "requires_action":
            await self._submit()

    @property
    def path(self) -> str:
        return f"/threads/{self.thread}/runs/{self.run['id']}"

    async def _start(self) -> None:
        """Start the one run of the thread; a start whose answer was lost is found in the list."""
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

    async def _rested(self) -> JSON:
        """The run once it rests. Who was cut off from its stream follows it in the log."""
        if self.live:
            await self._application.until(self._followed)

        async def rests() -> JSON | None:
            run = await self._application.call("GET", self.path)
            return run if run["status"] in RESTING else None

        self.run = await self._application.until(rests)
        return self.run

    async def _followed(self) -> bool | None:
        if self.seen and self.seen[-1][1] == "done":
            return True
        after = self.seen[-1][0] if self.seen else -1
        path = f"{self.path}/events?starting_after={after}"
        return True if await self._application.read("GET", path, None, self.seen) else None

    async def _submit(self) -> None:
        """Hand in the outputs; if the answer is lost, the run tells whether they arrived."""
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
