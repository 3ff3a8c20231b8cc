"""A receiver of webhooks on loopback, in the test's own loop; it checks nothing by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from openai import OpenAI

from inference.gateway.http.hosts import HostGuard
from inference.webhooks.registry import Endpoint, Registry

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cyBhbG9uZQ=="
HANGS = 0
"""In place of a status: no answer."""


@dataclass(slots=True)
class Delivery:
    """A request as the receiver got it."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def event(self, secret: str = SECRET) -> Any:
        """The event, verified by the SDK; raises if the signature is wrong."""
        with OpenAI(api_key="none") as client:
            return client.webhooks.unwrap(self.body, self.headers, secret=secret)


@dataclass(slots=True)
class Receiver:
    """Answers deliveries with `statuses`, one after the other, and then with 200."""

    host: str = ""
    statuses: list[int] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook?token=1"

    def endpoint(self, **fields: Any) -> Endpoint:
        return Endpoint(**{"url": self.url, "secret": SECRET, **fields})

    async def wait(self, count: int = 1, seconds: float = 20) -> list[Delivery]:
        """Wait until that many deliveries have arrived."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.deliveries) >= count)
        return self.deliveries

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        async with self._changed:
            self.deliveries.append(Delivery(headers, await request.read()))
            self._changed.notify_all()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == HANGS:
            await asyncio.sleep(60)
        return web.Response(status=status, headers={"location": self.url} if status in (302, 307) else {})


@asynccontextmanager
async def receiver_at(*statuses: int) -> AsyncIterator[Receiver]:
    """A receiver that listens until it is left."""
    receiver = Receiver(statuses=[*statuses])
    application = web.Application()
    application.router.add_post("/hook", receiver.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.host = "{}:{}".format(*runner.addresses[0][:2])
    try:
        yield receiver
    finally:
        await runner.cleanup()


def registry(*receivers: Receiver, project: str = "p") -> Registry:
    """The receivers as a project's endpoints."""
    guard = HostGuard(frozenset(each.host for each in receivers))
    return Registry({project: tuple(each.endpoint() for each in receivers)}, guard)
