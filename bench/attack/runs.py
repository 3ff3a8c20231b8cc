"""Attacks by runs: long answers and answers full of citation marks."""

import json
import time
from collections.abc import Callable

from bench.attack.arena import Arena, all_of, said
from bench.load import BenchFailed

SETTLED = frozenset({"completed", "incomplete", "failed", "expired", "cancelled", "requires_action"})


def long_answers(arena: Arena) -> Callable[[], str]:
    """Run 20 streams whose answers have 20 MB each."""
    script = {"text": "word " * 200, "repeat": 20_000, "chunks": 20_000}
    return started(arena, script, arena.rig.scaled(20), [])


def one_long_answer(arena: Arena) -> Callable[[], str]:
    """Run one answer of 20 MB that comes in one piece."""
    return started(arena, {"text": "x" * 1000, "repeat": 20_000, "chunks": 1}, 1, [])


def citation_marks(arena: Arena) -> Callable[[], str]:
    """Run an answer with 6,000 citation marks."""
    return started(
        arena, {"text": "A fact 【4:0†source】. ", "repeat": 6000, "chunks": 6000}, 1, ["file_search"]
    )


def citation_openings(arena: Arena) -> Callable[[], str]:
    """Run an answer with 200,000 marks that are opened and never closed."""
    return started(arena, {"text": "【4:", "repeat": 200_000, "chunks": 2000}, 1, ["file_search"])


def many_calls(arena: Arena) -> Callable[[], str]:
    """Run an answer with 5,000 function calls."""
    calls = [{"name": "f", "arguments": {}}] * 5000
    return started(arena, {"calls": calls}, 1, [])


def started(arena: Arena, turn: dict[str, object], count: int, tools: list[str]) -> Callable[[], str]:
    """Return an attack by so many streamed runs at once, with a model that answers `turn`."""
    body = {"model": "gpt-4o", "tools": [{"type": tool} for tool in tools]}
    body["instructions"] = f"script: {json.dumps({'turns': [turn]})}"
    assistant = arena.make("/assistants", body)
    threads = [
        arena.make("/threads", {"messages": [{"role": "user", "content": "Go."}]}) for _ in range(count)
    ]
    return lambda: all_of(lambda number: run(arena, threads[number], assistant), count)


def run(arena: Arena, thread: str, assistant: str) -> str:
    """Stream a run to its end and return its status."""
    with arena.client() as client:
        body = {"assistant_id": assistant, "stream": True}
        with client.stream("POST", f"/threads/{thread}/runs", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
                return said(answer)
            for _ in answer.iter_raw():
                pass
        end = time.monotonic() + 60
        while time.monotonic() < end:
            (run,) = client.get(f"/threads/{thread}/runs").json()["data"]
            if run["status"] in SETTLED:
                return str(run["status"])
            time.sleep(0.5)
    raise BenchFailed(f"the run is {run['status']} a minute after its stream")
