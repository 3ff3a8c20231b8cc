"""The server with a probe: `GET /-/blocks` answers for how long its event loop was blocked.

Start it as `gunicorn -c gunicorn.conf.py tests.attacks.probe:app`, with one worker.
"""

import asyncio
import time
from typing import Any

import orjson

from wsgi import app as served

PATH = "/-/blocks"
PAUSE = 0.005


class Probed:
    """An application beside which a coroutine sleeps for 5 ms again and again.

    A block is the time between two turns of the coroutine, as far as the process was computing: what
    other processes of the machine take does not count.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._longest = 0.0
        self._task: asyncio.Task[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        longest, self._longest = self._longest, 0.0
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps({"longest": longest})})

    async def _watch(self) -> None:
        while True:
            began, computed = time.monotonic(), time.process_time()
            await asyncio.sleep(PAUSE)
            block = min(time.monotonic() - began - PAUSE, time.process_time() - computed)
            self._longest = max(self._longest, block)


app = Probed(served)
