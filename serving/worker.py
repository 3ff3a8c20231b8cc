"""gunicorn's worker: uvicorn on uvloop and httptools, with a stop that lets streams end."""

import asyncio
import dataclasses
import logging
import os
import signal
import sys
from functools import partial
from types import FrameType
from typing import Any, ClassVar, cast

import structlog
from gunicorn.arbiter import Arbiter
from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from serving.memory import return_large_blocks
from serving.open_files import allow_open_files
from serving.protocol import ConnectionLimits, Protocol
from serving.read_turns import ReadTurns
from serving.websocket_protocol import WebSocketProtocol

RETRY = 1.0
"""Seconds after which a worker that could not reach the database exits, to be started again."""

AFTER_GRACE = 3.0
"""Seconds after the grace time in which interrupted streams send their last bytes."""

BEAT = 1.0
"""Seconds between two heartbeats to gunicorn's master, and two checks whether it still runs."""

OTHER_FILES = 512
"""Open files that a worker needs beside its connections: the store's, those to providers."""

log = structlog.get_logger("astrolabe.worker")


class DrainingServer(Server):
    """A uvicorn server that stops the application before it waits for open connections."""

    def __init__(self, config: Config, application: Any) -> None:
        super().__init__(config)
        self._application = application
        self._loop = asyncio.get_running_loop()
        # Not `should_exit`: at the first Ctrl-C the master sends SIGQUIT too, which sets that.
        self._is_stopping = False

    async def startup(self, sockets: Any = None) -> None:
        """Listen; the first worker that does so says where, and what it serves."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port, *_ = sockets[0].getsockname()
            self._application.announce(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop; Ctrl-C during a stop ends its grace time.

        The base class raises each signal again in the end, and an orderly stop would look like a death.
        """
        if self._is_stopping and sig == signal.SIGINT:
            self._loop.call_soon_threadsafe(self._application.stop_at_once)
        self._is_stopping = self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Stop listening, let what runs end within the grace time, then close."""
        self._application.begin_stop()
        beating = asyncio.create_task(self._beat())
        await super().shutdown(sockets)
        beating.cancel()

    async def _beat(self) -> None:
        """Keep sending gunicorn heartbeats, so that it does not take a long stop for a hang."""
        while self.config.callback_notify is not None:
            await self.config.callback_notify()
            await asyncio.sleep(BEAT)


def possible_limits(limits: ConnectionLimits) -> ConnectionLimits:
    """Return the limits with as many connections as the system's limit on open files allows."""
    files = allow_open_files(limits.connections + OTHER_FILES)
    possible = max(files - OTHER_FILES, files // 2)
    if possible >= limits.connections:
        return limits
    log.warning("connections_limited_by_open_files", wanted=limits.connections, possible=possible)
    return dataclasses.replace(limits, connections=possible)


class Worker(UvicornWorker):
    """The worker class that gunicorn.conf.py names."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "ws_per_message_deflate": False,  # WebSocketProtocol has its own
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        # Nothing here looks at the client's address or scheme.
        "proxy_headers": False,
        # SSE clients and pools keep connections for long; a load balancer's idle time is often 60 s.
        "timeout_keep_alive": 75,
        "timeout_notify": BEAT,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The base class takes it away from the root logger, which writes JSON; uvicorn.access may stay away.
        logging.getLogger("uvicorn.error").propagate = True

    def init_process(self) -> None:
        """Serve, in the process that gunicorn has forked."""
        return_large_blocks()
        super().init_process()

    def init_signals(self) -> None:
        """Reset the signals; outside `_serve` Ctrl-C is the master's business."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it serves; then models.yaml is read in any case

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        limits = possible_limits(self.wsgi.connection_limits)
        turns = ReadTurns(asyncio.get_running_loop())
        self.config.http = partial(Protocol, limits=limits, turns=turns)
        self.config.ws = cast(Any, partial(WebSocketProtocol, limits=limits))
        self.config.timeout_graceful_shutdown = int(self.wsgi.grace + AFTER_GRACE)
        self._server = DrainingServer(self.config, self.wsgi)
        # gunicorn's master sends it when it is interrupted; uvicorn does not know it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self._stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.wsgi.reload_routes)
        await self._server.serve(sockets=self.sockets)
        if not self._server.started and self.wsgi.may_start_later:
            # gunicorn replaces it; by WORKER_BOOT_ERROR it would end the whole server.
            await asyncio.sleep(RETRY)
            sys.exit(1)
        if not self._server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def callback_notify(self) -> None:
        """Send a heartbeat; stop if the master has died, as nothing would restart or stop this worker."""
        self.notify()
        if os.getppid() != self.ppid:
            self._stop()

    def _stop(self) -> None:
        self._server.should_exit = True
