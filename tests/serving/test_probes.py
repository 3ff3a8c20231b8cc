"""Readiness: every registered service is asked, and no answer shows a host or a path."""

import json
from pathlib import Path

import httpx

from persistence.errors import StoreFull, StoreUnavailable
from persistence.types import JSON
from serving.lifespan import Service
from serving.probes import Probes
from tests.server import Server, until


async def nothing() -> None:
    """Open or close a service that has nothing to open."""


def service(name: str, error: Exception | None = None, shown: JSON | None = None) -> Service:
    async def ping() -> JSON | None:
        if error is not None:
            raise error
        return shown

    return Service(name, nothing, nothing, ping=ping)


async def ready(*services: Service, stopping: bool = False) -> tuple[int, JSON]:
    answer = await Probes(services, lambda *_: None).answer("/readyz", stopping=stopping)
    assert answer is not None
    return answer[0], json.loads(answer[1])


async def test_every_service_with_a_ping_is_asked() -> None:
    silent = Service("silent", nothing, nothing)
    status, body = await ready(service("a"), service("b", shown={"search": "bm25"}), silent)
    assert (status, body) == (200, {"status": "ready", "checks": {"a": "ok", "b": {"search": "bm25"}}})


async def test_one_failing_service_makes_the_worker_not_ready() -> None:
    failure = StoreUnavailable("/data/astrolabe.db: disk I/O error")
    status, body = await ready(service("a", failure), service("b"))
    assert (status, body) == (503, {"status": "not ready", "checks": {"a": "unavailable", "b": "ok"}})


async def test_a_worker_with_a_full_device_is_ready_for_reads_and_deletes_and_says_so() -> None:
    status, body = await ready(service("a", StoreFull("/data: no room left")))
    assert (status, body) == (200, {"status": "ready", "checks": {"a": "full"}})


async def test_a_stopping_worker_is_not_ready() -> None:
    assert await ready(service("a"), stopping=True) == (503, {"status": "stopping", "checks": {"a": "ok"}})


def test_a_database_that_is_gone_makes_readyz_503_without_its_path(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, OPENAI_API_KEY="sk-x") as server:
        (tmp_path / "astrolabe.db").rename(tmp_path / "elsewhere.db")
        until(lambda: httpx.get(f"{server.root}/readyz").status_code == 503, seconds=10)
        answer = httpx.get(f"{server.root}/readyz")
    assert answer.json()["checks"]["store"] == "unavailable"
    assert str(tmp_path) not in answer.text
