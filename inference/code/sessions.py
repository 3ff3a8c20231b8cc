"""Runs code in the sandbox of a container, which this worker has or takes over."""

from collections.abc import Callable
from dataclasses import dataclass, field

from inference.code.container_records import ContainerRecords
from inference.code.errors import ContainerFileRefused
from inference.code.kernel import Kernel, SandboxLost
from inference.code.kernels import Kernels, RunningKernel
from inference.code.outputs import Output, Status
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


class KernelMoved(Exception):
    """The container's sandbox is another worker's by now."""


class CodeRunner:
    """Runs code in this worker's sandboxes; `token` names this worker, and `socket` is where it listens."""

    def __init__(self, store: Store, records: ContainerRecords, kernels: Kernels) -> None:
        self._store = store
        self._records = records
        self._kernels = kernels
        self.token = ""
        self.socket = ""

    async def run(self, key: Key, code: str, on_output: OnOutput, lost: JSON | None = None) -> CodeResult:
        """Run code in a container, once other calls in it have ended.

        `lost` is the worker that had the sandbox and is gone. Raises KernelMoved if another one has it, and
        SandboxUnavailable, ContainerNotFound and ContainerExpired.
        """
        async with self._kernels.hold((self.token, key.project, key.id)) as running:
            container = await self._with_kernel(key, running, lost)
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
        running.runs_code = True
        status = await kernel.run(code, on_output)
        running.runs_code = False
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

    async def _with_kernel(self, key: Key, running: RunningKernel, lost: JSON | None) -> Document:
        """Return the container, whose sandbox runs here and is this worker's by the container's state."""
        container = await self._records.use(key.project, key.id)
        try:
            self._check_holder(container, lost)
            is_ours = self._is_ours(container)
            if not is_ours or not running.is_alive:  # a sandbox of before another worker had one is stale
                await self._kernels.start(running, container.value["memory_limit"])
                running.is_fresh = container.state["kernel"] is not None
            return container if is_ours else await self._take(key, lost)
        except KernelMoved:
            await running.close()
            raise

    async def _take(self, key: Key, lost: JSON | None) -> Document:
        """Note in the container's state that this worker has the sandbox."""

        async def attempt() -> Document:
            container = await self._records.get(key.project, key.id)
            self._check_holder(container, lost)
            state = {**container.state, "kernel": {"token": self.token, "socket": self.socket}}
            return (await self._store.write(Replace(container, state=state)))[0]

        return await retry_on_conflict(attempt)

    def _check_holder(self, container: Document, lost: JSON | None) -> None:
        if container.state["kernel"] not in (None, lost) and not self._is_ours(container):
            raise KernelMoved

    def _is_ours(self, container: Document) -> bool:
        kernel = container.state["kernel"]
        return kernel is not None and kernel["token"] == self.token
