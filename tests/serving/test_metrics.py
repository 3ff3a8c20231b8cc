"""/metrics, the probes and the request log of a live server."""

import json
import re
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Histogram

from serving.metrics import SECONDS, Meter
from tests.server import Server, until

pytestmark = pytest.mark.server


def count(server: Server, operation: str, status: int) -> float:
    text = httpx.get(f"{server.root}/metrics").text
    name = "astrolabe_http_request_duration_seconds_count"
    found = re.search(rf'^{name}{{operation="{operation}",status="{status}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_requests_of_all_workers_are_counted_by_operation_and_status(
    server: Server, http: httpx.Client
) -> None:
    before = count(server, "getThread", 404)
    for _ in range(20):
        # A connection of its own each, so that both workers get some.
        assert httpx.get(f"{server.url}/threads/thread_none").status_code == 404
    until(lambda: count(server, "getThread", 404) == before + 20, seconds=5)


def test_no_id_is_a_label(server: Server, http: httpx.Client) -> None:
    thread = http.post("threads", json={}).json()["id"]
    http.get(f"threads/{thread}")
    assert thread not in httpx.get(f"{server.root}/metrics").text


def test_readiness_names_what_was_asked(server: Server) -> None:
    answer = httpx.get(f"{server.root}/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["store"] == "ok"


def test_the_log_has_a_line_a_request_without_bodies_or_keys(server: Server, http: httpx.Client) -> None:
    secret, key = "the body of this message is nobody's business", "sk-the-callers-own-secret-key"
    message = {"messages": [{"role": "user", "content": secret}], "metadata": {"k": secret}}
    answer = http.post("threads", json=message, headers={"Authorization": f"Bearer {key}"})
    request_id = answer.headers["x-request-id"]
    until(lambda: request_id in server.log.read_text(), seconds=5)
    text = server.log.read_text()
    line = json.loads(next(line for line in text.splitlines() if request_id in line))
    assert (line["event"], line["operation"], line["status"]) == ("request_finished", "createThread", 200)
    assert secret not in text
    assert key not in text


def test_every_line_of_the_log_is_json_and_each_request_has_one(server: Server, http: httpx.Client) -> None:
    before = len(server.log.read_text())
    request_id = http.get("threads/thread_none").headers["x-request-id"]
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"no http at all\r\n\r\n")
        assert json.loads(client.makefile("rb").read().partition(b"\r\n\r\n")[2])["error"]["message"]
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert http.get("health", headers=upgrade).status_code == 200
    until(lambda: "Invalid HTTP" in server.log.read_text()[before:], seconds=5)
    until(lambda: request_id in server.log.read_text()[before:], seconds=5)
    lines = [json.loads(line) for line in server.log.read_text()[before:].splitlines()]
    assert [line.get("request_id") for line in lines].count(request_id) == 1
    assert "uvicorn.access" not in {line.get("logger") for line in lines}


def test_observations_that_are_added_up_are_those_made_one_by_one() -> None:
    registry = CollectorRegistry()
    single, added = (
        Histogram(name, "", ("operation",), buckets=SECONDS, registry=registry).labels("get")
        for name in ("single", "added")
    )
    meter = Meter(added)
    for value in (0.0, 0.001, 0.0011, 0.3, 600, 601, 1e9):
        single.observe(value)
        meter.observe(value)
    meter.flush()
    meter.flush()
    samples = {
        name: [
            (sample.name.removeprefix(name), sample.labels, sample.value)
            for metric in registry.collect()
            for sample in metric.samples
            if metric.name == name and not sample.name.endswith("_created")
        ]
        for name in ("single", "added")
    }
    assert len(samples["single"]) == len(SECONDS) + 3
    assert samples["added"] == samples["single"]
