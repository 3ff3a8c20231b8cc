"""A disk without room: what is there can be read and deleted, and /readyz shows why nothing is taken."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.required import requires
from tests.server import COMMAND, Server

pytestmark = pytest.mark.server

NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def has_namespaces() -> bool:
    return shutil.which("unshare") is not None and not subprocess.call([*NAMESPACE, "true"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server with two workers, whose folder is a disk of 24 MB."""
    mount = f"mount -t tmpfs -o size=24m tmpfs {shlex.quote(str(tmp_path))}"
    command = [*NAMESPACE, "sh", "-c", f"{mount} && exec {shlex.join(COMMAND)}"]
    with (
        Server(tmp_path, command=command, OPENAI_API_KEY="sk-x") as server,
        httpx.Client(base_url=server.root, timeout=30) as client,
    ):
        yield client


@requires(has_namespaces(), "the system allows no mount namespaces")
def test_deletes_work_on_a_full_disk(small: httpx.Client) -> None:
    def upload(size: int) -> httpx.Response:
        return small.post("/v1/files", files={"file": ("a", bytes(size))}, data={"purpose": "assistants"})

    files = []
    for size in (2_000_000, 50_000, 4_000):
        while (answer := upload(size)).status_code == 200:
            files.append(answer.json()["id"])
        assert answer.status_code == 507
    assert small.post("/v1/threads", json={"messages": [{"role": "user", "content": "x" * 200_000}]}).is_error
    readiness = small.get("/readyz")
    assert (readiness.status_code, readiness.json()["checks"]["store"]) == (200, "full")
    assert 'astrolabe_service_full{service="store"} 1.0' in small.get("/metrics").text
    for file in files:
        assert small.delete(f"/v1/files/{file}").json()["deleted"]
    assert upload(2_000_000).status_code == 200
    assert small.get("/readyz").json()["checks"]["store"] == "ok"
