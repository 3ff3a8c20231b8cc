"""Attacks with a key: one request that is as large as it may be, or larger."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.attack.arena import PATIENCE, Arena, AttackWorked, all_of, encoded, said
from bench.measuring import MEGABYTE
from bench.writes import seed


def search(arena: Arena) -> Callable[[], str]:
    """Search a vector store for 30,000 queries at once, six times side by side."""
    store = arena.make("/vector_stores", {})
    body = encoded({"query": [f"word{number}" for number in range(30_000)]})
    return lambda: all_of(lambda _: arena.post(f"/vector_stores/{store}/search", body), 6)


def long_query(arena: Arena) -> Callable[[], str]:
    """Search a vector store for a text of 30 MB."""
    store = arena.make("/vector_stores", {})
    body = encoded({"query": "word " * (6 * MEGABYTE)})
    return lambda: arena.post(f"/vector_stores/{store}/search", body)


def image_url(arena: Arena) -> Callable[[], str]:
    """Add a message whose image URL is a data URL of 30 MB, five times."""
    thread = arena.make("/threads", {})
    body = encoded({"role": "user", "content": [image()]})
    return lambda: all_of(lambda _: arena.post(f"/threads/{thread}/messages", body), 5)


def image_url_chat(arena: Arena) -> Callable[[], str]:
    """Ask for a completion about an image of 30 MB, five times."""
    body = encoded({"model": "m", "messages": [{"role": "user", "content": [image()]}]})
    return lambda: all_of(lambda _: arena.post("/chat/completions", body), 5)


def image() -> Any:
    """Return a part of a message with a data URL of 30 MB."""
    url = "data:image/png;base64," + "iVBORw0K" * (30 * MEGABYTE // 8)
    return {"type": "image_url", "image_url": {"url": url}}


def thread_of_messages(arena: Arena) -> Callable[[], str]:
    """Create a thread with 400,000 messages."""
    message = {"role": "user", "content": "x"}
    body = encoded({"messages": [message] * arena.rig.scaled(400_000)})
    return lambda: arena.post("/threads", body)


def delete_thread(arena: Arena) -> Callable[[], str]:
    """Delete a thread of 900,000 messages, and wait until they are gone."""
    thread = arena.make("/threads", {})
    count, path = arena.rig.scaled(900_000), arena.server.folder / "astrolabe.db"
    asyncio.run(seed(path, thread, count, "attacker"))

    def attack() -> str:
        with arena.client() as client:
            answer = said(client.delete(f"/threads/{thread}"))
        began = time.monotonic()
        while left := rows(path, thread):
            if time.monotonic() - began > PATIENCE:
                raise AttackWorked(f"{answer}, {left} messages left after {PATIENCE:.0f} s")
            time.sleep(1)
        return f"{answer}, {count:,} messages gone after {time.monotonic() - began:.0f} s"

    return attack


def rows(path: Path, thread: str) -> int:
    """Return how many documents the SQLite store has under a thread, up to a thousand."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(*) FROM (SELECT 1 FROM documents WHERE parent = ? LIMIT 1000)"
        return int(connection.execute(query, (thread,)).fetchone()[0])


def huge_page(arena: Arena) -> Callable[[], str]:
    """List 12 messages of 12 MB each, the largest there can be."""
    thread = arena.make("/threads", {})
    parts = [{"type": "text", "text": "x" * 256_000}] * 48
    for _ in range(12):
        arena.make(f"/threads/{thread}/messages", {"role": "user", "content": parts})

    def attack() -> str:
        with arena.client() as client:
            answer = client.get(f"/threads/{thread}/messages", params={"limit": 100})
        return f"{said(answer)}, {len(answer.content) / MEGABYTE:.0f} MB"

    return attack


def model_names(arena: Arena) -> Callable[[], str]:
    """Ask for models whose names have 10 MB, 60 times."""
    bodies = [
        encoded(
            {"model": f"{number}" + "m" * (10 * MEGABYTE), "messages": [{"role": "user", "content": "x"}]}
        )
        for number in range(arena.rig.scaled(60))
    ]

    return lambda: all_of(lambda number: arena.post("/chat/completions", bodies[number]), len(bodies))


def deep_body(arena: Arena) -> Callable[[], str]:
    """Send a body of 10 MB that is nothing but nested lists."""
    body = b'{"metadata": ' + b"[" * (5 * MEGABYTE) + b"]" * (5 * MEGABYTE) + b"}"
    return lambda: arena.post("/threads", body)


def many_members(arena: Arena) -> Callable[[], str]:
    """Send metadata with a million members."""
    body = encoded({"metadata": {f"key{number}": "v" for number in range(1_000_000)}})
    return lambda: arena.post("/threads", body)


def many_tools(arena: Arena) -> Callable[[], str]:
    """Create an assistant with a hundred thousand tools."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = encoded({"model": "m", "tools": [tool] * 100_000})
    return lambda: arena.post("/assistants", body)


def countless_values(arena: Arena) -> Callable[[], str]:
    """Create an assistant with three million objects in the parameters of its function, three times."""
    function = {"name": "f", "parameters": {"x": [{"a": "b"}] * 3_000_000}}
    body = encoded({"model": "m", "tools": [{"type": "function", "function": function}]})
    return lambda: all_of(lambda _: arena.post("/assistants", body), 3)


def many_filters(arena: Arena) -> Callable[[], str]:
    """List completions by thousands of metadata filters."""
    query = "&".join(f"metadata[key{number}]=v" for number in range(3000))

    def attack() -> str:
        with arena.client() as client:
            return said(client.get(f"/chat/completions?{query}"))

    return attack
