"""gunicorn's worker: uvicorn on uvloop and httptools, with a stop that lets streams end."""

import os
import sys
from asyncio import AbstractEventLoop, Transport
from typing import Any, ClassVar, cast

from gunicorn.arbiter import Arbiter
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
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


class Cork:
    """A transport for one answer: its head waits for its body, so that both leave in one system call."""

    __slots__ = ("_head", "_is_open", "_loop", "_transport")

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._is_open = False

    def write(self, data: bytes) -> None:
        """Hold the first bytes back until the next, or until the loop's next turn if none come."""
        if self._is_open:
            self._transport.write(data)
        elif self._head:
            self._is_open = True
            self._transport.write(self._head + data)
        else:
            self._head = data
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._transport.write(self._head)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection once everything is written."""
        if self._head:
            self._release()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which sends each answer's head together with what follows it."""

    def on_headers_complete(self) -> None:
        """Begin the request, whose answer will go through a cork."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = cast(Transport, Cork(self.transport, self.loop))


class Worker(UvicornWorker):
    """The worker class that gunicorn.conf.py names."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        # Nothing here looks at the client's address or scheme.
        "proxy_headers": False,
        # Seconds between two looks at whether the master still lives, and two heartbeats.
        "timeout_notify": 2,
        # SSE clients and pools keep connections for long; a load balancer's idle time is often 60 s.
        "timeout_keep_alive": 75,
    }

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self.config.timeout_graceful_shutdown = int(self.wsgi.grace + AFTER_GRACE)
        server = self._server = DrainingServer(self.config, self.wsgi)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def callback_notify(self) -> None:
        """Tell the master that this worker lives, and stop where there is no master any more."""
        await super().callback_notify()
        if os.getppid() != self.ppid:
            # Killed without a word: whoever starts a new one needs the port.
            self._server.should_exit = True
