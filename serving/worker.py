"""gunicorn's worker: uvicorn on uvloop and httptools, with a stop that lets streams end."""

import sys
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

AFTER_GRACE = 3.0
"""Seconds after the grace time in which the streams that were cut off get their last bytes out."""


class DrainingServer(Server):
    """A uvicorn server that tells the application of a stop before it waits for its connections."""

    def __init__(self, config: Config, application: Any) -> None:
        super().__init__(config)
        self._application = application

    async def shutdown(self, sockets: Any = None) -> None:
        """Stop listening, let what runs end within the grace time, then close."""
        self._application.begin_stop()
        await super().shutdown(sockets)


class Worker(UvicornWorker):
    """The worker class that gunicorn.conf.py names."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        # Nothing here looks at the client's address or scheme.
        "proxy_headers": False,
        # SSE clients and pools keep connections for long; a load balancer's idle time is often 60 s.
        "timeout_keep_alive": 75,
    }

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self.config.timeout_graceful_shutdown = int(self.wsgi.grace + AFTER_GRACE)
        server = DrainingServer(self.config, self.wsgi)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
