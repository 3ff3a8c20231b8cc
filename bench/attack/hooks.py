"""Attacks by webhooks: an endpoint that fails, and very many events for it."""

import asyncio
import http.server
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import orjson

from bench.attack.arena import Arena, AttackWorked
from bench.measuring import MEGABYTE, percentile
from inference.jobs import Jobs
from inference.webhooks.delivery import Webhooks
from inference.webhooks.registry import Registry
from persistence.engines import open_store

EVENTS = 10_000
BATCH = 1000
OTHERS = 15
"""Events of the other project, one a second."""

MOST_SECONDS = 5.0
"""In which an event of the other project has to arrive."""


def webhooks_refused(arena: Arena) -> Callable[[], str]:
    """Have 10,000 events for an endpoint that refuses connections, beside another project's webhooks."""
    return lambda: delivered(arena, nullcontext())


def webhooks_stalled(arena: Arena) -> Callable[[], str]:
    """Have 10,000 events for an endpoint that never answers, beside another project's webhooks."""
    return lambda: delivered(arena, socket.create_server(("127.0.0.1", arena.hooks[0]), backlog=4096))


def webhooks_flooded(arena: Arena) -> Callable[[], str]:
    """Have 10,000 events for an endpoint that answers each with 100 MB, beside another project's webhooks."""
    return lambda: delivered(arena, receiver(arena.hooks[0], _Flood))


def delivered(arena: Arena, attackers: AbstractContextManager[object]) -> str:
    """Store the attacker's events; return how long those of the other project take meanwhile."""
    with attackers, receiver(arena.hooks[1], _Noted) as noted:
        asyncio.run(enqueue(arena, arena.rig.scaled(EVENTS)))
        created = {}
        with arena.client(arena.bystander_key) as client:
            for _ in range(OTHERS):
                body = {"model": "m", "input": "Hello", "background": True}
                answer = client.post("/responses", json=body).raise_for_status()
                created[answer.json()["id"]] = time.monotonic()
                time.sleep(1)
        end = time.monotonic() + 60
        while len(noted.arrived) < OTHERS and time.monotonic() < end:
            time.sleep(0.1)
        seconds = [noted.arrived.get(id, float("inf")) - at for id, at in created.items()]
    outcome = (
        f"the other project's webhooks: p50 {percentile(seconds, 0.5):.1f} s, slowest {max(seconds):.1f} s"
    )
    if max(seconds) > MOST_SECONDS:
        raise AttackWorked(outcome)
    return outcome


async def enqueue(arena: Arena, count: int) -> None:
    """Store that many events of the attacker, as the ends of its responses would."""
    store = open_store(f"sqlite:///{arena.server.folder / 'astrolabe.db'}")
    await store.open()
    webhooks = Webhooks(store, Jobs(store, "attack"), Registry.from_file(arena.hooks_file, {}))
    for start in range(0, count, BATCH):
        ids = (f"resp_{number:048}" for number in range(start, start + BATCH))
        events = (webhooks.announce("attacker", "response.completed", id) for id in ids)
        await store.write(*(operation for event in events for operation in event))
    await webhooks.close()
    await store.close()


class _Receiver(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    arrived: dict[str, float]


class _Noted(http.server.BaseHTTPRequestHandler):
    """Notes when each event arrives."""

    server: _Receiver

    def do_POST(self) -> None:
        """Answer 204."""
        event = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.arrived[event["data"]["id"]] = time.monotonic()
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class _Flood(_Noted):
    def do_POST(self) -> None:
        """Answer with 100 MB, for as long as they are read."""
        self.send_response(500)
        self.send_header("content-length", str(100 * MEGABYTE))
        self.end_headers()
        with suppress(OSError):
            for _ in range(100):
                self.wfile.write(b"x" * MEGABYTE)


@contextmanager
def receiver(port: int, handler: type[_Noted]) -> Iterator[_Receiver]:
    """Yield a receiver of webhooks that runs in threads of its own."""
    with _Receiver(("127.0.0.1", port), handler) as server:
        server.arrived = {}
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
