"""Runs code in the sandbox of a container, which this worker has or takes over."""

from collections.abc import Callable
from dataclasses import dataclass, field

from inference.code.container_records import ContainerRecords
from inference.code.errors import ContainerFileRefused
from inference.code.kernel import Kernel, Output, SandboxLost, Status
from inference.code.kernels import Kernels, RunningKernel
from inference.code.limits import TIERS, Limits
from inference.code.synchronizing import note_kept, put_files, written_files
from persistence.retry import retry_on_conflict
from persistence.store import Document, Key, Replace, Store
from persistence.types import JSON

OnOutput = Callable[[Output], None]


@dataclass(frozen=True, slots=True)
class CodeResult:
    """How code ended.

    `files` are the objects of the files that it wrote or changed; they are stored. `is_fresh` says that
    the container's earlier sandbox was lost, with all variables, before this code ran. `notes` say, for
    the model, which files could not be put in or kept, and why the sandbox died.
    """

    status: Status
    files: list[JSON] = field(default_factory=list)
    is_fresh: bool = False
    notes: list[str] = field(default_factory=list)


class CodeRunner:
    """Runs code in this worker's sandboxes; `token` is this worker's, new with each start."""

    def __init__(self, store: Store, records: ContainerRecords, kernels: Kernels) -> None:
        self._store = store
        self._records = records
        self._kernels = kernels
        self.token = ""

    async def run(self, key: Key, code: str, on_output: OnOutput) -> CodeResult:
        """Run code in a container, once other calls in it have ended.

        Raises SandboxUnavailable, ContainerNotFound and ContainerExpired.
        """
        async with self._kernels.hold((self.token, key.project, key.id)) as running:
            container = await self._with_kernel(key, running)
            kernel = running.kernel
            assert kernel is not None  # noqa: S101 - it was just started, or is alive
            try:
                return await self._run(container, kernel, running, code, on_output)
            except SandboxLost as exc:
                await running.close()
                return CodeResult("died", is_fresh=running.is_fresh, notes=[str(exc)])

    async def _run(
        self, container: Document, kernel: Kernel, running: RunningKernel, code: str, on_output: OnOutput
    ) -> CodeResult:
        is_fresh, running.is_fresh = running.is_fresh, False
        notes = await put_files(self._store, container, kernel, running)
        status = await kernel.run(code, on_output)
        written = await written_files(self._store, container, kernel, running)
        files: list[JSON] = []
        if written.added or written.deleted:
            try:
                container, files = await self._records.change_files(
                    container.key.project, container.id, written.added, written.deleted, even_late=True
                )
            except ContainerFileRefused as exc:  # others added files meanwhile
                written.notes.append(f"no file is kept: {exc}")
                written.added = []
        note_kept(running, written)
        return CodeResult(status, files, is_fresh, [*notes, *written.notes])

    async def _with_kernel(self, key: Key, running: RunningKernel) -> Document:
        """Return the container, whose sandbox runs here and is this worker's by the container's state."""
        container = await self._records.use(key.project, key.id)
        if not self._is_ours(container):
            await running.close()
        if not running.is_alive:
            memory = TIERS[container.value["memory_limit"]]
            await self._kernels.start(running, Limits(memory=memory))
            running.is_fresh = container.state["kernel"] is not None
        if self._is_ours(container):
            return container

        async def take() -> Document:
            current = await self._records.get(key.project, key.id)
            state = {**current.state, "kernel": {"token": self.token}}
            return (await self._store.write(Replace(current, state=state)))[0]

        return await retry_on_conflict(take)

    def _is_ours(self, container: Document) -> bool:
        kernel = container.state["kernel"]
        return kernel is not None and kernel["token"] == self.token
