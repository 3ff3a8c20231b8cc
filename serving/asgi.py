"""The ASGI application: requests and WebSockets to their servers, the worker's life to the lifespan."""

import secrets
from collections.abc import Callable, Iterator
from itertools import count

import structlog

from handlers.context import Services
from serving.flask_app import Flask
from serving.http import HTTPServer
from serving.interruptions import Interruptions
from serving.lifespan import Lifespan
from serving.pipeline import Pipeline
from serving.protocol import ConnectionLimits
from serving.request import Receive, Scope, Send
from serving.websocket import WebSocketServer

log = structlog.get_logger("astrolabe.app")


class RequestIds:
    """Makes ids that begin with 64 random bits and count on."""

    def __init__(self) -> None:
        self._ids: Iterator[str] = iter(())
        self.reseed()

    def reseed(self) -> None:
        """Begin anew; called after the fork, so that every worker has ids of its own."""
        seed = secrets.token_hex(8)
        self._ids = (f"req_{seed}{number & 0xFFFFFFFFFFFF:012x}" for number in count(secrets.randbits(40)))

    def __call__(self) -> str:
        """Return the next id."""
        return next(self._ids)


class ASGIApplication:
    """What gunicorn's workers run. `grace` is how many seconds open streams have to end at a stop."""

    def __init__(
        self,
        *,
        flask: Flask,
        services: Services,
        pipeline: Pipeline,
        http: HTTPServer,
        websockets: WebSocketServer,
        interruptions: Interruptions,
        lifespan: Lifespan,
        ids: RequestIds,
        announce: Callable[[str], None],
        connection_limits: ConnectionLimits,
        grace: float,
        reload_routes: Callable[[], None],
        running_jobs: Callable[[], int],
    ) -> None:
        self.flask = flask
        self.services = services
        self.pipeline = pipeline
        self.call = pipeline.call
        self.grace = grace
        self.reload_routes = reload_routes
        self.announce = announce
        self.connection_limits = connection_limits
        self._http = http
        self._websockets = websockets
        self._interruptions = interruptions
        self._lifespan = lifespan
        self._ids = ids
        self._running_jobs = running_jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websockets(scope, receive, send)
        else:
            self._ids.reseed()
            await self._lifespan(scope, receive, send)

    @property
    def may_start_later(self) -> bool:
        """Whether a start failed for want of the database only, so that another try makes sense."""
        return self._lifespan.may_start_later

    def start_local_models(self) -> None:
        """Start the local models' process, where a route leads there; called in gunicorn's master."""
        if self.services.gateway.local is not None:
            self.services.gateway.local.start()

    def stop_local_models(self) -> None:
        """End the local models' process."""
        if self.services.gateway.local is not None:
            self.services.gateway.local.stop()

    def begin_stop(self) -> None:
        """Take no new jobs, and end the streams and waiting calls that outlast the grace time."""
        jobs = self._running_jobs()
        waits = waiting_for(self._interruptions.open_requests, jobs)
        if waits:
            log.info(
                "server_stopping",
                open_requests=self._interruptions.open_requests,
                running_jobs=jobs,
                grace=self.grace,
                text=f"Stopping: up to {self.grace:g} s for {waits} to end (Ctrl-C again stops at once)",
            )
        self._lifespan.begin_stop()
        self._interruptions.stop_after(self.grace)
        self._websockets.begin_stop()

    def stop_at_once(self) -> None:
        """End the grace time of a stop that has begun."""
        self._interruptions.stop_at_once()
        self._lifespan.stop_at_once()


def waiting_for(requests: int, jobs: int) -> str:
    """Return what a stop waits for in words, such as `2 requests and 1 job`; empty if for nothing."""
    counts = [(requests, "request"), (jobs, "job")]
    return " and ".join(f"{count} {noun}{'s' * (count > 1)}" for count, noun in counts if count)
