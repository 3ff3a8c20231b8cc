"""The last event of a start: where the server listens, and what it serves."""

import asyncio
import os

import structlog

from handlers.context import Services
from serving.routes import ServedEdition
from serving.routing import PREFIX
from serving.settings import Settings
from serving.shown_urls import shown_store

AUTH = {
    "open": "open: any key is accepted",
    "keys": "keys",
    "tokens": "astra: each token opens its own database",
    "astra": "astra: any token is accepted, and opens a project of its own",
}

log = structlog.get_logger("astrolabe.app")


class Announcement:
    """Logs `server_started` once for all workers. Make it before they are forked."""

    def __init__(self, settings: Settings, services: Services, served: ServedEdition) -> None:
        self._settings = settings
        self._services = services
        self._served = served
        self._check: asyncio.Future[str | None] | None = None
        # A pipe with one byte: the first worker that reads announces.
        self._turn, write_end = os.pipe()
        os.write(write_end, b"1")
        os.close(write_end)

    def __call__(self, address: str) -> None:
        """Log where the server listens, unless another worker has done so; `address` is `host:port`."""
        if os.read(self._turn, 1):
            url = f"http://{address}{PREFIX}"
            facts = self._facts()
            lines = [f"Serving {url} (Ctrl-C stops)", *(f"{name:<9} {fact}" for name, fact in facts.items())]
            log.info("server_started", url=url, **facts, text="\n         ".join(lines))
            # Logs why code cannot be isolated, if it cannot: `_facts` knows only what is missing.
            self._check = asyncio.ensure_future(self._services.containers.sandboxes.check())

    def _facts(self) -> dict[str, str]:
        counts, settings = self._served.counts(), self._settings
        facts = {
            "edition": f"{counts.edition}: {counts.served} of {counts.operations} operations",
            "store": shown_store(settings.store),
            **self._services.gateway.summary(),
            "code": self._services.containers.sandboxes.summary(),
            "search": settings.search_service or "",
            "tools": ", ".join(self._services.mcp.labels),
            "auth": AUTH["tokens" if settings.opens_store_per_token else settings.auth],
        }
        return {name: fact for name, fact in facts.items() if fact}
