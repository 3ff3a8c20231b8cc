"""The server with a probe, `bench.attack.probed:app`: for how long each worker's event loop was blocked.

A worker notes its longest block in the file `blocked-` and its process id, in its working directory. Deleting
the file begins anew.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from wsgi import app as served

PAUSE = 0.005


class Probed:
    """An application beside which a coroutine sleeps for 5 ms again and again.

    A block is the time between two turns of the coroutine, as far as the process was computing: what other
    processes of the machine take does not count.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve; the first call, of the lifespan, starts the probe."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        await self._app(scope, receive, send)

    async def _watch(self) -> None:
        path, longest = Path(f"blocked-{os.getpid()}"), 0.0
        while True:
            began, computed = time.monotonic(), time.process_time()
            await asyncio.sleep(PAUSE)
            block = min(time.monotonic() - began - PAUSE, time.process_time() - computed)
            if block > longest or (block > PAUSE and not path.exists()):
                longest = block
                path.write_text(f"{block:.4f}")


app = Probed(served)
