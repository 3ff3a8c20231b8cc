"""One worker's parts in the test's own loop, and the handlers of files and vector stores called with them."""

import asyncio
import hashlib
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw

from handlers import files, vector_store_files, vector_stores
from handlers.context import Binary, Context, Principal, UploadedFile
from inference.code.containers import Containers
from inference.code.kernels import Kernels
from inference.code.sandboxes import Sandboxes
from inference.gateway import Gateway, Routes
from inference.identifiers import new_id
from inference.jobs import Jobs
from inference.retrieval import Retrieval
from persistence.engines import open_store
from persistence.store import Enqueue, Job, Store
from persistence.types import JSON
from tests.fixtures.sandboxes import NeverStarted
from tests.fixtures.services import services_of

SECONDS = 30


async def until(holds: Callable[[], Awaitable[Any]], seconds: float = SECONDS) -> Any:
    """What `holds` gives, once that is true."""
    deadline = time.monotonic() + seconds
    while not (result := await holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)
    return result


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Library:
    """A project's files and vector stores, by the handlers of the API."""

    def __init__(self, folder: Path, store: Store, gateway: Gateway, **options: Any) -> None:
        self.folder = folder
        self.store = store
        self.gateway = gateway
        self.jobs = Jobs(store, f"worker-{secrets.token_hex(4)}", poll=0.05)
        self.retrieval = Retrieval(store, gateway, self.jobs, **options)
        self.containers = Containers(
            store, self.retrieval.deadlines, self.retrieval.files, Kernels(Sandboxes(NeverStarted()), most=1)
        )

    def context(self, project: str = "p", **headers: str) -> Context:
        services = services_of(
            store=self.store,
            gateway=self.gateway,
            jobs=self.jobs,
            retrieval=self.retrieval,
            containers=self.containers,
        )
        return Context(services, Principal(project), "", "test", "req", headers)

    async def uploaded(self, data: bytes, filename: str = "file.txt", project: str = "p") -> UploadedFile:
        """A part of a multipart body, as the serving layer hands it over."""
        content = new_id("content_")
        await self.store.write_content(project, content, pieces(data, 100_000))
        md5 = hashlib.md5(data).hexdigest()
        return UploadedFile(content, filename, "text/plain", len(data), md5)

    async def file(
        self, data: bytes | str, filename: str = "file.txt", project: str = "p", **fields: Any
    ) -> JSON:
        part = await self.uploaded(data.encode() if isinstance(data, str) else data, filename, project)
        return await files.create_file(
            self.context(project), {"file": part, "purpose": "assistants", **fields}
        )

    async def vector_store(self, *texts: str | bytes, **fields: Any) -> JSON:
        """A vector store of files with these texts, once they were ingested."""
        ids = [(await self.file(text, f"{n}.txt"))["id"] for n, text in enumerate(texts)]
        created = await vector_stores.create_vector_store(self.context(), {"file_ids": ids, **fields})
        return await self.settled(created["id"])

    async def settled(self, vector_store: str, seconds: float = SECONDS) -> JSON:
        async def settled() -> JSON | None:
            value = await vector_stores.get_vector_store(self.context(), vector_store)
            return None if value["status"] == "in_progress" else value

        return await until(settled, seconds)

    async def ingest(self, data: bytes | str, filename: str, **fields: Any) -> JSON:
        """The file of a new vector store, once it was ingested."""
        store = await vector_stores.create_vector_store(self.context(), {})
        file = await self.file(data, filename)
        await self.attach(store["id"], file["id"], **fields)
        await self.settled(store["id"])
        return await vector_store_files.get_vector_store_file(self.context(), store["id"], file["id"])

    async def attach(self, vector_store: str, file: str, **fields: Any) -> JSON:
        return await vector_store_files.create_vector_store_file(
            self.context(), vector_store, {"file_id": file, **fields}
        )

    async def search(self, vector_store: str, query: str | list[str], **fields: Any) -> list[JSON]:
        page = await vector_stores.search_vector_store(
            self.context(), vector_store, {"query": query, **fields}
        )
        return page["data"]

    async def download(self, file: str, **headers: str) -> tuple[Binary, bytes]:
        answer = await files.download_file(self.context(**headers), file)
        return answer, b"".join([piece async for piece in answer.pieces])

    def census(self) -> dict[str, int]:
        """The rows of each table that holds what users made, and the files beside the database."""
        connection = apsw.Connection(f"{self.folder}/astrolabe.db", flags=apsw.SQLITE_OPEN_READONLY)
        tables = ("documents", "labels", "jobs", "logs", "contents", "vector_stores")
        counts = {table: next(connection.execute(f"SELECT count(*) FROM {table}"))[0] for table in tables}
        connection.close()
        folders = ("astrolabe.db-contents", "astrolabe.db-indexes")
        found = itertools.chain.from_iterable((self.folder / name).glob("**/*") for name in folders)
        return {**counts, "files": sum(path.is_file() for path in found)}

    def queued(self, kind: str) -> list[JSON]:
        """The jobs of a kind that wait, or are being done."""
        connection = apsw.Connection(f"{self.folder}/astrolabe.db", flags=apsw.SQLITE_OPEN_READONLY)
        rows = connection.execute("SELECT project, id, due, payload FROM jobs WHERE kind = ?", (kind,))
        jobs = [
            {"project": project, "id": id, "due": due, "payload": json.loads(payload)}
            for project, id, due, payload in rows
        ]
        connection.close()
        return jobs

    async def begin(self) -> None:
        self.jobs._stopping = False
        await self.jobs.start()

    async def hasten(self, kind: str) -> None:
        """Let the jobs of a kind be due now, and nobody's: as if their time, or a lease, had run out."""
        for job in self.queued(kind):
            await self.store.write(
                Enqueue(Job(job["project"], kind, job["id"], time.time(), payload=job["payload"]))
            )


@asynccontextmanager
async def library_at(
    folder: Path, provider: str, *, embedding_model: str | None = "embed", start: bool = True, **options: Any
) -> AsyncIterator[Library]:
    """A library on SQLite in `folder`; with `start` false its jobs wait for `begin`."""
    routes = replace(Routes.from_environment("sk-test", provider), embedding_model=embedding_model)
    async with library_over(folder, Gateway(routes), start=start, **options) as library:
        yield library


@asynccontextmanager
async def library_over(
    folder: Path, gateway: Gateway, *, url: str | None = None, start: bool = True, **options: Any
) -> AsyncIterator[Library]:
    """A library whose models are behind `gateway`, on SQLite in `folder` or in the database of `url`."""
    store = open_store(url or f"sqlite:///{folder}/astrolabe.db")
    await store.migrate()
    await store.open()
    await gateway.open()
    library = Library(folder, store, gateway, **options)
    if start:
        await library.begin()
    else:
        library.jobs._stopping = True  # so that it adopts none of its own either
    try:
        yield library
    finally:
        await library.jobs.stop(grace=0)
        await library.retrieval.close()
        await gateway.close()
        await store.close()
