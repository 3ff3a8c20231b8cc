"""What tests of real sandboxes need: the driver, and a worker's containers."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inference.code.containers import Containers
from inference.code.driver import Driver
from inference.code.kernels import Kernels
from inference.code.outputs import Text
from inference.code.sandboxes import Sandboxes
from inference.code.sessions import CodeResult
from inference.identifiers import new_id
from inference.jobs import Jobs
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.files import Files
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.sandboxes import bubblewrap


class Worker:
    """One worker's containers of a project, and calls of them."""

    def __init__(
        self, store: Store, project: str, most: int, driver: Driver | None, share: int | None = None
    ) -> None:
        self.store = store
        self.project = project
        self.jobs = Jobs(store, f"worker-{secrets.token_hex(4)}", poll=0.05)
        self.deadlines = Deadlines(store, self.jobs)
        self.kernels = Kernels(Sandboxes(driver), most, share)
        self.containers = Containers(store, self.deadlines, Files(store, self.deadlines), self.kernels)

    async def create(self) -> str:
        """Create a container; return its id."""
        return str((await self.containers.create(self.project, "c"))["id"])

    async def run(self, container: str, code: str) -> tuple[CodeResult, str]:
        """Run code; return how it ended and what it printed."""
        texts: list[str] = []
        used = await self.containers.records.use(self.project, container)
        result = await self.containers.run(
            used, code, lambda one: texts.append(one.text if isinstance(one, Text) else "<image>")
        )
        return result, "".join(texts)

    async def printed(self, container: str, code: str) -> str:
        """Run code that succeeds; return what it printed."""
        result, text = await self.run(container, code)
        assert (result.status, result.notes) == ("ok", []), text
        return text

    async def upload(self, container: str, path: str, data: bytes) -> JSON:
        """Add a file to a container."""
        content = new_id("content_")
        await self.store.write_content(self.project, content, _pieces(data))
        return await self.containers.add_content(self.project, container, path, content, len(data))

    async def read(self, file: JSON) -> bytes:
        """Return a file's bytes as the store has them."""
        document = await self.containers.get_file(self.project, file["container_id"], file["id"])
        return b"".join([piece async for piece in self.containers.read_file(document)])

    async def paths(self, container: str) -> set[str]:
        """Return the paths of a container's files."""
        document = await self.containers.records.get(self.project, container)
        return set(document.state["files"])


@asynccontextmanager
async def worker_over(
    store: Store, project: str, *, most: int = 10, driver: Driver | None = None, share: int | None = None
) -> AsyncIterator[Worker]:
    """A worker of that project with real sandboxes, unless a driver is given."""
    worker = Worker(store, project, most, driver or bubblewrap(), share)
    await worker.containers.open()
    await worker.jobs.start()
    try:
        yield worker
    finally:
        await worker.jobs.stop(grace=0)
        await worker.containers.close()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data
