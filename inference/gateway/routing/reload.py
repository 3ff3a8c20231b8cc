"""Reads models.yaml again when it changes, while requests go on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from inference.errors import RoutesRefused
from inference.gateway.gateway import Gateway
from inference.gateway.routing.routes import Routes
from inference.yaml_file import FileStamp, file_stamp

POLL_SECONDS = 1.0
"""Seconds between two looks at the file; a change counts when two of them in a row have seen the same."""

log = structlog.get_logger("astrolabe.routing")


class RoutesReloader:
    """Gives a gateway the routes of its file as they are now; a file that cannot be used changes nothing.

    Each worker has its own. Without a file there is nothing to read.
    """

    def __init__(self, gateway: Gateway, path: Path | None, read: Callable[[Path], Routes]) -> None:
        self._gateway = gateway
        self._path = path
        self._read = read
        self._seen: FileStamp | None = None
        self._watching: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()

    async def open(self) -> None:
        """Read the file if it has changed since the start of the server, and begin to watch it."""
        self._seen = self._gateway.routes.stamp
        if self._path is not None:
            if await asyncio.to_thread(_stamp, self._path) != self._seen:
                await self.reload()
            self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()

    def reload_soon(self) -> None:
        """Have the file read at once, whether or not it has changed; for a signal."""
        if self._path is None:
            log.warning("routes_not_reloaded", reason="ASTROLABE_MODELS names no file")
        self._asked.set()

    async def reload(self) -> bool:
        """Read the file, and return whether it is used from now on."""
        if self._path is None:
            return False
        self._seen = await asyncio.to_thread(_stamp, self._path)
        try:
            routes = await asyncio.to_thread(self._read, self._path)
            await self._gateway.use(routes)
        except RoutesRefused as exc:
            log.error("routes_not_reloaded", reason=str(exc), text=f"The old routes are kept: {exc}")  # noqa: TRY400
            return False
        log.info("routes_reloaded", models=len(routes.routes), file=str(self._path))
        return True

    async def _watch(self) -> None:
        before = self._seen
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), POLL_SECONDS)
            except TimeoutError:
                now = await asyncio.to_thread(_stamp, self._path) if self._path else None
                if now == before and now != self._seen:
                    await self.reload()
                before = now
            else:
                self._asked.clear()
                await self.reload()


def _stamp(path: Path) -> FileStamp | None:
    """Return the stamp of a file; None if it is not there."""
    try:
        return file_stamp(path.stat())
    except OSError:
        return None
