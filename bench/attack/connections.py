"""Attacks by connections, heads, bodies and trailers; only unfinished bodies need a key."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import httpx

from bench.attack.arena import PATIENCE, Arena, said
from bench.measuring import MEGABYTE

CHUNKED = b"POST /v1/threads HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
HOLD_SECONDS = 20.0
"""How long connections are held open; longer than the server waits for a head."""


def trailers(arena: Arena) -> Callable[[], str]:
    """Send 700 MB of trailers behind an empty chunked body."""
    line = b"X-Trailer: " + b"x" * 8000 + b"\r\n"
    return lambda: flood(arena, CHUNKED + b"0\r\n", line * 128, arena.rig.scaled(700 * MEGABYTE))


def long_trailer(arena: Arena) -> Callable[[], str]:
    """Send one trailer whose value never ends."""
    return lambda: flood(
        arena, CHUNKED + b"0\r\nX-Trailer: ", b"x" * MEGABYTE, arena.rig.scaled(700 * MEGABYTE)
    )


def long_head(arena: Arena) -> Callable[[], str]:
    """Send one header whose value never ends."""
    head = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Header: "
    return lambda: flood(arena, head, b"x" * MEGABYTE, arena.rig.scaled(700 * MEGABYTE))


def flood(arena: Arena, head: bytes, piece: bytes, size: int) -> str:
    """Send `head`, then `piece` again and again until `size` bytes are sent or the server closes."""
    sent = 0
    with arena.connect() as client:
        try:
            client.sendall(head)
            while sent < size:
                client.sendall(piece)
                sent += len(piece)
        except OSError:
            return f"closed after {sent / MEGABYTE:.0f} MB"
    return f"took all {sent / MEGABYTE:.0f} MB"


def double_slash(arena: Arena) -> Callable[[], str]:
    """Ask for //v1/files without a key, 200 times."""

    def attack() -> str:
        with httpx.Client(timeout=PATIENCE) as client:
            answers = [client.get(f"{arena.server.root}//v1/files") for _ in range(200)]
        return said(answers[-1])

    return attack


def silent_connections(arena: Arena) -> Callable[[], str]:
    """Hold connections open that send nothing."""
    return lambda: held(arena, open_files(), b"", b"")


def slow_heads(arena: Arena) -> Callable[[], str]:
    """Hold connections open that send a byte of their head each second."""
    return lambda: held(arena, open_files(), b"GET /v1/models HTTP/1.1\r\nX-Slow: ", b"x")


def unfinished_bodies(arena: Arena) -> Callable[[], str]:
    """Send all but the last byte of many bodies of 30 MB."""
    size = 30 * MEGABYTE
    head = f"POST /v1/threads HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {arena.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    whole = head.encode() + b" " * (size - 1)
    return lambda: held(arena, arena.rig.scaled(100), whole, b"")


def held(arena: Arena, count: int, first: bytes, each_second: bytes) -> str:
    """Open connections, send on each what is given, and count those that the server has closed in the end."""
    with ExitStack() as stack:
        clients: list[socket.socket] = []
        refused = 0
        for _ in range(count):
            try:
                client = stack.enter_context(arena.connect())
                client.settimeout(2)
                client.sendall(first)
                clients.append(client)
            except OSError:
                refused += 1
        end = time.monotonic() + HOLD_SECONDS
        while time.monotonic() < end:
            time.sleep(1)
            for client in clients:
                with suppress(OSError):
                    client.sendall(each_second)
        closed = sum(is_closed(client) for client in clients)
    return f"{count} opened: {refused} refused, {closed} closed after {HOLD_SECONDS:.0f} s"


def open_files() -> int:
    """Return how many connections an attacker may open."""
    return min(4000, os.sysconf("SC_OPEN_MAX") // 2)


def is_closed(client: socket.socket) -> bool:
    """Return whether the server has closed a connection, with an answer or without."""
    client.setblocking(False)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
