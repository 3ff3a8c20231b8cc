"""gunicorn's worker: uvicorn on uvloop and httptools, with a stop that lets streams end."""

import asyncio
import logging
import os
import signal
import sys
from asyncio import AbstractEventLoop, Transport
from http import HTTPStatus
from typing import Any, ClassVar, cast

from gunicorn.arbiter import Arbiter
from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from handlers.errors import ApiError, BadRequest
from serving.responses import error_response

RETRY = 1.0
"""Seconds after which a worker that found no database makes room for another try."""

AFTER_GRACE = 3.0
"""Seconds after the grace time in which the streams that were cut off get their last bytes out."""

BEAT = 1.0
"""Seconds between two signs of life to gunicorn's master, and two looks whether it lives."""

UPGRADE_TOKENS = (b"upgrade", b"http2-settings")
"""Headers of a request to upgrade, which Connection names too."""

MOST_HEAD = 64 * 1024
"""Bytes that a request's line and headers may take; the parser itself has no bound."""


class DrainingServer(Server):
    """A uvicorn server that tells the application of a stop before it waits for its connections."""

    def __init__(self, config: Config, application: Any, *, is_first: bool) -> None:
        super().__init__(config)
        self._application = application
        self._is_first = is_first

    async def startup(self, sockets: Any = None) -> None:
        """Listen; the first worker of a server then says where, and what it serves."""
        await super().startup(sockets)
        if self.started and self._is_first and sockets:
            host, port, *_ = sockets[0].getsockname()
            self._application.announce(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def shutdown(self, sockets: Any = None) -> None:
        """Stop listening, let what runs end within the grace time, then close."""
        self._application.begin_stop()
        beating = asyncio.create_task(self._beat())
        await super().shutdown(sockets)
        beating.cancel()
        # uvicorn would raise them again now, so that an orderly end looked like a death by signal.
        self._captured_signals.clear()

    async def _beat(self) -> None:
        """Go on telling gunicorn that this worker lives: a long stop is no hang."""
        while self.config.callback_notify is not None:
            await self.config.callback_notify()
            await asyncio.sleep(BEAT)


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


class RequestParser(HttpRequestParser):
    """httptools' parser, which stops at a request that asks for another protocol and drops its body.

    The protocol then reads such a request again.
    """

    def __init__(self, protocol: "Protocol") -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: bytes) -> None:
        """Parse what has come."""
        try:
            super().feed_data(data)
        except HttpParserUpgrade as exc:
            self._protocol.ignore_upgrade(bytes(data[exc.args[0] :]))


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol: bounds a request's head, and sends each answer's head with what follows it.

    A request to upgrade (the JDK's client sends `Upgrade: h2c` by default) is served as it is, as
    HTTP allows.
    """

    _head_size = -1
    """Bytes of the head that is being read; negative between heads."""

    _is_upgrade = False
    """Whether the request whose head was read asks for another protocol."""

    def connection_made(self, transport: Any) -> None:
        """Begin to read with a parser that knows what to do about upgrades."""
        super().connection_made(transport)
        self.parser = RequestParser(self)

    def ignore_upgrade(self, rest: bytes) -> None:
        """Read a request again without its Upgrade header; `rest` is what follows its head."""
        self._is_upgrade = False
        method, url = self.parser.get_method(), self.url
        if method == b"CONNECT":
            self.send_400_response("This server is no proxy.")
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [one.strip() for one in value.split(b",")]
                value = b", ".join(one for one in tokens if one.lower() not in UPGRADE_TOKENS)  # noqa: PLW2901
            if name not in UPGRADE_TOKENS and value:
                lines.append(name + b": " + value)
        self.parser = RequestParser(self)
        self.parser.feed_data(b"\r\n".join((*lines, b"", rest)))

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless it is a head without end."""
        super().data_received(data)
        if self._head_size >= 0:
            self._head_size += len(data)
            if self._head_size > MOST_HEAD and not self.transport.is_closing():
                message = f"The request's line and headers take more than {MOST_HEAD} bytes."
                self._refuse(ApiError(message, status=431, type="invalid_request_error"))

    def on_message_begin(self) -> None:
        """Begin to count the head's bytes."""
        super().on_message_begin()
        self._head_size = 0

    def on_headers_complete(self) -> None:
        """Begin the request, whose answer will go through a cork."""
        self._head_size = -1
        self._is_upgrade = self.parser.should_upgrade()
        if self._is_upgrade:
            return
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = cast(Transport, Cork(self.transport, self.loop))

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(BadRequest(msg))

    def _refuse(self, error: ApiError) -> None:
        """Answer ahead of the application, and hang up."""
        response = error_response(error)
        status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()
        head = [status, b"connection: close", *(b": ".join(header) for header in response.headers)]
        self.transport.write(b"\r\n".join((*head, b"", cast(bytes, response.body))))
        self.transport.close()

    def on_message_complete(self) -> None:
        """End the request, unless it will be read again without its upgrade."""
        if not self._is_upgrade:
            super().on_message_complete()


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
        # SSE clients and pools keep connections for long; a load balancer's idle time is often 60 s.
        "timeout_keep_alive": 75,
        "timeout_notify": BEAT,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The base class takes it away from the root logger, which writes JSON; uvicorn.access may stay away.
        logging.getLogger("uvicorn.error").propagate = True

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self.config.timeout_graceful_shutdown = int(self.wsgi.grace + AFTER_GRACE)
        self._server = DrainingServer(self.config, self.wsgi, is_first=self.age == 1)
        # gunicorn's master sends it when it is interrupted; uvicorn does not know it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self._stop)
        await self._server.serve(sockets=self.sockets)
        if not self._server.started and self.wsgi.may_start_later:
            # gunicorn replaces it; by WORKER_BOOT_ERROR it would end the whole server.
            await asyncio.sleep(RETRY)
            sys.exit(1)
        if not self._server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def callback_notify(self) -> None:
        """Tell the master that this worker lives, and stop where no master is left to restart or end it."""
        self.notify()
        if os.getppid() != self.ppid:
            self._stop()

    def _stop(self) -> None:
        self._server.should_exit = True
