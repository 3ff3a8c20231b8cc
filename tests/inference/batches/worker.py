"""A worker that runs batches in the test's own loop, by the stages of a real server."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from handlers.context import Limits
from inference.batches.batches import WINDOW, Batches
from inference.batches.objects import ENDED
from inference.batches.sending import SendingOptions
from inference.batches.slots import LineSlots
from inference.gateway import Gateway
from inference.identifiers import new_id
from inference.jobs import LEASE_SECONDS, Jobs
from inference.responses.responses import Responses
from inference.retrieval import Retrieval
from inference.sealing import Sealer
from inference.webhooks.delivery import Webhooks
from inference.webhooks.registry import Registry
from persistence.store import Document, Store
from persistence.types import JSON
from serving.line_caller import LineCaller, LineStages
from tests.fixtures.services import services_of

CHAT = "/v1/chat/completions"
LEASES = {"SQLiteStore": 0.4, "CassandraStore": 3.0}


def chat_line(number: int, said: str = "", **body: Any) -> JSON:
    message = {"role": "user", "content": said or f"line {number}"}
    return {
        "custom_id": f"r{number}",
        "method": "POST",
        "url": CHAT,
        "body": {"model": "m", "messages": [message], **body},
    }


def jsonl(*lines: JSON | str) -> str:
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)


class BatchWorker:
    """One worker's batches, with files made and read as the API does."""

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        stages: LineStages,
        *,
        lease: float = LEASE_SECONDS,
        window: float = WINDOW,
        options: SendingOptions | None = None,
        per_project: int = 8,
        registry: Registry | None = None,
    ) -> None:
        self.store = store
        self.jobs = Jobs(store, f"worker-{secrets.token_hex(4)}", poll=0.05, lease=lease)
        self.retrieval = Retrieval(store, gateway, self.jobs)
        caller = LineCaller(Limits(), stages=stages)
        self.webhooks = Webhooks(store, self.jobs, registry or Registry())
        self.batches = Batches(
            store,
            gateway,
            self.jobs,
            self.webhooks,
            files=self.retrieval.files,
            deadlines=self.retrieval.deadlines,
            sealer=Sealer(),
            caller=caller,
            slots=LineSlots(per_project, 64),
            window=window,
            options=options or SendingOptions(patience=0.2, pause=0.01),
        )
        self.services = caller.services = services_of(
            store=store,
            gateway=gateway,
            jobs=self.jobs,
            retrieval=self.retrieval,
            responses=Responses(store, gateway, self.jobs, None, self.webhooks),
            batches=self.batches,
        )

    async def file(self, text: str | bytes, project: str = "p", purpose: str = "batch") -> Document:
        data = text.encode() if isinstance(text, str) else text
        content = new_id("content_")
        await self.store.write_content(project, content, _pieces(data))
        return await self.retrieval.files.create(
            project, content=content, filename="in.jsonl", size=len(data), purpose=purpose
        )

    async def create(self, *lines: JSON | str, endpoint: str = CHAT, **fields: Any) -> str:
        file = await self.file(jsonl(*lines))
        return await self.create_of(file, endpoint=endpoint, **fields)

    async def create_of(self, file: Document, *, endpoint: str = CHAT, **fields: Any) -> str:
        project = file.key.project
        created = await self.batches.create(
            project, file, endpoint=endpoint, completion_window="24h", **fields
        )
        id: str = created["id"]
        return id

    async def get(self, id: str) -> JSON:
        return (await self.batches.get("p", id)).value

    async def when(self, id: str, *statuses: str, seconds: float = 30) -> JSON:
        """Return the batch once it has one of the statuses."""
        deadline = time.monotonic() + seconds
        while (batch := await self.get(id))["status"] not in statuses:
            assert time.monotonic() < deadline, batch
            await asyncio.sleep(0.02)
        return batch

    async def ended(self, id: str, seconds: float = 30) -> JSON:
        return await self.when(id, *ENDED, seconds=seconds)

    async def lines(self, file: str | None) -> list[JSON]:
        if file is None:
            return []
        document = await self.retrieval.files.get("p", file)
        pieces = [piece async for piece in self.retrieval.files.read(document)]
        assert len(b"".join(pieces)) == document.value["bytes"]
        assert document.value["purpose"] == "batch_output"
        return [json.loads(line) for line in b"".join(pieces).splitlines()]

    async def answers(self, batch: JSON) -> list[JSON]:
        """Return the lines of the output file, then those of the error file."""
        return await self.lines(batch["output_file_id"]) + await self.lines(batch["error_file_id"])


@asynccontextmanager
async def batch_worker(
    store: Store, gateway: Gateway, stages: LineStages, **options: Any
) -> AsyncIterator[BatchWorker]:
    worker = BatchWorker(store, gateway, stages, **options)
    await worker.jobs.start()
    try:
        yield worker
    finally:
        await worker.jobs.stop(0)
        await worker.webhooks.close()
        await worker.retrieval.close()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]
