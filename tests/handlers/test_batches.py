"""Whose batches they are: projects, callers' provider settings, webhooks."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from handlers import batches
from handlers.context import Context, Principal
from handlers.errors import BadRequest, Forbidden, NotFound
from inference.gateway import Gateway
from inference.retrieval.errors import ObjectNotFound
from persistence.store import Store
from persistence.types import JSON
from serving.line_caller import LineStages
from tests.fixtures.refusals import refused
from tests.handlers.caller_settings.requests import KEY, TENANT
from tests.inference.batches.conftest import stages
from tests.inference.batches.worker import CHAT, BatchWorker, batch_worker, chat_line, jsonl
from tests.inference.engine.conftest import gateway, store
from tests.inference.engine.process import script
from tests.inference.webhooks.conftest import receiver
from tests.inference.webhooks.receiver import Receiver, registry
from tests.provider import ProviderProcess
from tests.server import Server, until

__all__ = ["gateway", "receiver", "stages", "store"]


@pytest.fixture
async def worker(store: Store, gateway: Gateway, stages: LineStages) -> AsyncIterator[BatchWorker]:
    async with batch_worker(store, gateway, stages) as worker:
        yield worker


def context(worker: BatchWorker, project: str = "p", *, has_store: bool = True) -> Context:
    return Context(worker.services, Principal(project, has_store=has_store), "", "test", "req")


def body_of(file: str, **fields: str) -> JSON:
    return {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", **fields}


async def test_a_key_never_reaches_another_projects_batch(worker: BatchWorker) -> None:
    ours, theirs = context(worker, "p"), context(worker, "other")
    file = (await worker.file(jsonl(chat_line(0)))).id
    assert (await refused(batches.create_batch(theirs, body_of(file)), NotFound)).param == "input_file_id"
    id = (await batches.create_batch(ours, body_of(file)))["id"]
    for operation in (batches.retrieve_batch, batches.cancel_batch):
        refusal = await refused(operation(theirs, id), NotFound)
        assert refusal.message == f"No batch found with id '{id}'."
    assert (await batches.list_batches(theirs))["data"] == []
    await refused(batches.list_batches(theirs, after=id), BadRequest)
    batch = await worker.ended(id)
    assert [each["id"] for each in (await batches.list_batches(ours))["data"]] == [id]
    await refused(batches.cancel_batch(ours, id), BadRequest)
    for file in (batch["output_file_id"], batch["input_file_id"]):
        with pytest.raises(ObjectNotFound):
            await worker.retrieval.files.get("other", file)


async def test_a_caller_who_stores_nothing_has_no_batches(worker: BatchWorker) -> None:
    file = (await worker.file(jsonl(chat_line(0)))).id
    await refused(batches.create_batch(context(worker, has_store=False), body_of(file)), Forbidden)


async def test_lines_ask_with_the_projects_own_files(worker: BatchWorker) -> None:
    """A line cannot name a file of another project."""
    theirs = (await worker.file("hello", "other", "user_data")).id
    content = [{"type": "input_file", "file_id": theirs}]
    line = {
        "custom_id": "r0",
        "method": "POST",
        "url": "/v1/responses",
        "body": {"model": "m", "input": [{"role": "user", "content": content}]},
    }
    id = await worker.create(line, endpoint="/v1/responses")
    (error,) = await worker.lines((await worker.ended(id))["error_file_id"])
    assert error["response"]["status_code"] == 404
    assert theirs in error["response"]["body"]["error"]["message"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
async def test_each_end_of_a_batch_has_its_event(
    store: Store, gateway: Gateway, stages: LineStages, receiver: Receiver, status: str
) -> None:
    slow = script({"text": "Late.", "wait": 3600})
    line = "nonsense" if status == "failed" else chat_line(0, "Hello." if status == "completed" else slow)
    window = 1 if status == "expired" else 60
    options = {"window": window, "registry": registry(receiver)}
    async with batch_worker(store, gateway, stages, **options) as worker:
        id = await worker.create(line)
        if status == "cancelled":
            await worker.when(id, "in_progress")
            await worker.batches.cancel("p", id)
        (got,) = await receiver.wait()
        event = got.event()
        assert (event.type, event.data.id) == (f"batch.{status}", id)
        assert (await worker.get(id))["status"] == status


@pytest.mark.server
def test_lines_ask_with_their_callers_settings_which_are_kept_encrypted(
    tmp_path: Path, provider: ProviderProcess, tag: str
) -> None:
    said = "script: " + json.dumps({"tag": tag, "turns": [{"text": "Hello.", "wait": 1}]})
    line = chat_line(0, said, model="openai/gpt-4o")
    environment = {
        "ASTROLABE_AUTH": "astra",
        "ASTROLABE_PROVIDER_HOSTS": f"127.0.0.1:{provider.port}",
        "ASTROLABE_SECRET": "a-secret-of-the-operator",
    }
    headers = {**TENANT, "Authorization": f"Bearer {KEY}", "base-url": provider.url}
    with (
        Server(tmp_path, **environment) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=60) as client,
    ):
        files = {"file": ("in.jsonl", jsonl(line))}
        file = client.post("/files", data={"purpose": "batch"}, files=files).json()["id"]
        id = client.post("/batches", json=body_of(file)).json()["id"]

        def status() -> str:
            return str(client.get(f"/batches/{id}").json()["status"])

        until(lambda: status() == "in_progress", seconds=20)
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path.name for path in written if KEY.encode() in path.read_bytes()] == []
        until(lambda: status() == "completed", seconds=20)
        assert provider.received(tag)[0]["headers"]["authorization"] == f"Bearer {KEY}"


@pytest.mark.server
def test_without_a_secret_a_batch_with_callers_settings_is_refused(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    headers = {**TENANT, "Authorization": f"Bearer {KEY}"}
    with (
        Server(tmp_path, ASTROLABE_AUTH="astra", OPENAI_BASE_URL=provider.url) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=60) as client,
    ):
        files = {"file": ("in.jsonl", jsonl(chat_line(0)))}
        file = client.post("/files", data={"purpose": "batch"}, files=files).json()["id"]
        answer = client.post("/batches", json=body_of(file))
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "settings_not_kept"
