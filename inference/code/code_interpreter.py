"""The code_interpreter tool of runs and responses: the model's code runs in a container."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from inference.code.arguments import code_of
from inference.code.call_outputs import CallOutputs
from inference.code.container_files import below_folder
from inference.code.container_records import has_expired
from inference.code.containers import Containers
from inference.code.driver import SandboxUnavailable
from inference.code.errors import ContainerExpired, ContainerNotFound
from inference.code.limits import Limits
from inference.code.result_texts import description, result_text
from inference.code.sessions import CodeResult
from inference.code.shared_files import ContainerFiles, SharedFiles, ThreadFiles, data_url
from inference.engine.citations import PATH
from inference.engine.errors import ToolRefused, ToolUnavailable
from inference.engine.items import Call
from inference.engine.tools import Citation, Emit, Tool, ToolContext, ToolResult, ToolType
from inference.identifiers import derived_id
from inference.images import SEEN_IMAGE, SIGNATURE_BYTES, SeenImages, image_type
from inference.retrieval.errors import ObjectNotFound, RetrievalError
from inference.retrieval.files import Files
from persistence.errors import ContentNotFound
from persistence.store import Document, Store
from persistence.types import JSON

CODE_INTERPRETER = "code_interpreter"
ITEM = "code_interpreter_call"

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
"""Suffixes of files that may be images that models see."""

NO_CODE = 'The arguments have no code; write {"code": "…"}.'

GONE = (
    "The container of earlier calls is gone: this code ran in a new one, without the variables and "
    "files of earlier code. The files of the user are there again."
)


def thread_container(project: str, thread: str) -> str:
    """Return the id of a thread's container."""
    return derived_id("cntr_", project, thread)


class Wanted(NamedTuple):
    """The container of a run; one that the request does not name is created when it is first used.

    `is_replacement` says that the container of earlier calls is gone, which the model has to know.
    """

    id: str
    name: str
    file_ids: Sequence[str]
    memory_limit: str = "1g"
    is_named: bool = False
    is_replacement: bool = False


class CodeInterpreterType(ToolType):
    """What both APIs have in common; `sees_images` says whether a model takes images."""

    def __init__(
        self, store: Store, containers: Containers, files: Files, sees_images: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._containers = containers
        self._files = files
        self._sees_images = sees_images

    async def check(self, project: str, entry: JSON) -> None:  # noqa: ARG002 - of the interface
        """Raise ToolUnavailable where no code can be isolated."""
        problem = await self._containers.sandboxes.check()
        if problem is not None:
            raise ToolUnavailable(CODE_INTERPRETER, problem)

    async def _tool(self, context: ToolContext, wanted: Wanted, shared: SharedFiles) -> Tool:
        found = await asyncio.gather(*(self._find(context.project, id) for id in wanted.file_ids))
        files = [each for each in found if each is not None]
        wanted = wanted._replace(file_ids=[file.id for file in files])
        tool = CodeInterpreter(
            self._store,
            self._containers,
            context,
            wanted,
            shared,
            sees_images=self._sees_images(context.model),
        )
        await tool.open([file.value["filename"] for file in files])
        return tool

    async def _find(self, project: str, file: str) -> Document | None:
        try:
            return await self._files.get(project, file)
        except ObjectNotFound:  # deleted since the request was checked
            return None


class ThreadCodeInterpreter(CodeInterpreterType):
    """The tool of the Assistants API: a container for each thread, whose files become files of the API."""

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool of a run."""
        files = [
            id
            for each in context.resources
            for id in (each.get(CODE_INTERPRETER) or {}).get("file_ids") or ()
        ]
        id = thread_container(context.project, context.conversation)
        wanted = Wanted(id, context.conversation, list(dict.fromkeys(files)))
        return await self._tool(context, wanted, ThreadFiles(self._store, self._files, context.project))


class ResponseCodeInterpreter(CodeInterpreterType):
    """The tool of the Responses API: the container that a request names, or that of the last call."""

    async def check(self, project: str, entry: JSON) -> None:
        """Raise what a container or a file would raise later."""
        await super().check(project, entry)
        container = entry[CODE_INTERPRETER]["container"]
        if isinstance(container, str):
            await self._containers.records.usable(project, container, "container")
            return
        if problem := self._containers.memory_problem(container.get("memory_limit") or "1g"):
            raise ToolRefused(problem, "container.memory_limit", "unsupported_value")
        for file in container.get("file_ids") or ():
            await self._files.get(project, file, "container.file_ids")
        if (container.get("network_policy") or {}).get("type", "disabled") != "disabled":
            message = "Containers of this server have no network: the policy must be 'disabled'."
            raise ToolRefused(message, "container.network_policy.type", "unsupported_value")

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool of a response."""
        held = sum(map(_inline, context.results))
        shared = ContainerFiles(self._store, self._containers, context.project, held)
        return await self._tool(context, await self._wanted(context), shared)

    async def _wanted(self, context: ToolContext) -> Wanted:
        container = context.tool[CODE_INTERPRETER]["container"]
        if isinstance(container, str):
            return Wanted(container, "", (), is_named=True)
        files = container.get("file_ids") or ()
        memory_limit = container.get("memory_limit") or "1g"
        if newest := await self._newest(context):
            return Wanted(newest, context.run, files, memory_limit)
        id = derived_id("cntr_", context.project, context.run)
        is_lost = any(item["type"] == ITEM for item in context.earlier)
        return Wanted(id, context.run, files, memory_limit, is_replacement=is_lost)

    async def _newest(self, context: ToolContext) -> str | None:
        """Return the container of the run's own calls, else that of the context's last call if it runs."""
        if context.results:
            id: str = context.results[-1]["container_id"]
            return id
        calls = (item for item in reversed(context.earlier) if item["type"] == ITEM)
        id = next((item["container_id"] for item in calls if item.get("container_id")), "")
        try:
            return (await self._containers.records.usable(context.project, id)).id if id else None
        except RetrievalError:
            return None


class CodeInterpreter(Tool):
    """The tool of one run."""

    item_type = ITEM

    def __init__(
        self,
        store: Store,
        containers: Containers,
        context: ToolContext,
        wanted: Wanted,
        shared: SharedFiles,
        *,
        sees_images: bool,
    ) -> None:
        self._store = store
        self._containers = containers
        self._project = context.project
        self._wanted = wanted
        self._shared = shared
        seen = sum(result.get("seen", 0) for result in context.results)
        self._seen = SeenImages(sees_images=sees_images, seen=seen)
        self._turn = asyncio.Lock()
        self._names: list[str] = []

    async def open(self, names: Sequence[str]) -> None:
        """Learn the files of the container, if there is one; `names` are those that it will get."""
        present: dict[str, JSON] = {}
        try:
            container = await self._containers.records.get(self._project, self._wanted.id)
            if not has_expired(container):
                present = container.state["files"]
                await self._shared.know(container)
        except ContainerNotFound:
            pass
        self._names = list(dict.fromkeys([*present, *names]))

    def definitions(self) -> list[JSON]:
        """Return the one function that the model sees."""
        code = {"type": "string", "description": "Python code, as in a cell of a notebook."}
        parameters = {"type": "object", "properties": {"code": code}, "required": ["code"]}
        text = description(self._names, Limits().seconds)
        return [
            {
                "type": "function",
                "function": {"name": CODE_INTERPRETER, "description": text, "parameters": parameters},
            }
        ]

    def details(self, name: str) -> JSON:  # noqa: ARG002 - of the interface
        """Return the container of a call."""
        return {"container_id": self._wanted.id, "outputs": []}

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Run code, after the calls of the same turn before it."""
        emit("interpreting", {})
        async with self._turn:
            code = code_of(str(call.arguments))
            if not code.strip():
                return ToolResult(NO_CODE, self.details(call.name))
            outputs = CallOutputs(emit, self._shared.keep_image)
            try:
                is_new, container = await self._used()
                result = await self._shown(container, code, outputs)
                return await self._result(result, outputs, [GONE] if is_new else [])
            except (
                SandboxUnavailable,
                RetrievalError,
                ContentNotFound,
            ) as exc:  # or it was deleted meanwhile
                message = f"The code could not run: {exc}"
                outputs.add_logs(f"{message}\n")
                error = {"code": "code_interpreter_failed", "message": message}
                return ToolResult(message, self._details(outputs), error)

    def cite(self, mark: str, start: int, before: str) -> Citation | None:  # noqa: ARG002 - of the interface
        """Return the citation of a file of the container."""
        if not mark.startswith(PATH):
            return None
        path = mark.removeprefix(PATH)
        own = self._shared.annotation(path) or self._shared.annotation(unquote(path))
        if own is None:
            return None
        return Citation({"text": mark, "start_index": start, "end_index": start + len(mark), **own})

    # --- the container ---

    async def _used(self) -> tuple[bool, Document]:
        """Return the container that is used now, and whether it took the place of an expired one."""
        wanted, project = self._wanted, self._project
        is_new = False if wanted.is_named else await self._ensure()
        container = await self._containers.records.use(project, wanted.id)
        await self._shared.know(container)
        return is_new, container

    async def _ensure(self) -> bool:
        """Create the container or add what it lacks; return whether the one of earlier calls is gone."""
        wanted, project = self._wanted, self._project
        try:
            await self._containers.add_files(project, wanted.id, wanted.file_ids)
        except ContainerNotFound:
            await self._create()
            return wanted.is_replacement
        except ContainerExpired:
            await self._containers.delete(project, wanted.id)
            await self._create()
            return True
        return False

    async def _create(self) -> None:
        wanted = self._wanted
        await self._containers.create(
            self._project,
            wanted.name,
            file_ids=wanted.file_ids,
            memory_limit=wanted.memory_limit,
            id=wanted.id,
        )

    async def _shown(self, container: Document, code: str, outputs: CallOutputs) -> CodeResult:
        """Run code, and emit what it shows meanwhile."""
        emitting = asyncio.create_task(outputs.emit_all())
        try:
            result = await self._containers.run(container, code, outputs.add)
            outputs.end()
            await emitting
        finally:
            emitting.cancel()
        return result

    # --- the result ---

    async def _result(self, result: CodeResult, outputs: CallOutputs, notes: list[str]) -> ToolResult:
        container = await self._containers.records.get(self._project, self._wanted.id)
        await self._shared.share(container, result.files)
        written = [file for file in result.files if PurePosixPath(file["path"]).suffix.lower() in IMAGES]
        shown = [(each.content_type, each.content) for each in outputs.images]
        images = shown or [each async for each in self._contents(container, written)]
        seen = self._seen.choose(data_url(*image) for image in images if len(image[1]) <= SEEN_IMAGE)
        text = result_text(result, outputs.logs, len(outputs.images), len(seen), notes)
        cited = (self._shared.annotation(below_folder(file["path"])) for file in written)
        details = self._details(outputs) | {
            "images": [each[each["type"]] for each in cited if each is not None],
            "seen": sum(map(len, seen)),
        }
        return ToolResult(text, details, images=seen)

    def _details(self, outputs: CallOutputs) -> JSON:
        return {"container_id": self._wanted.id, "outputs": outputs.outputs}

    async def _contents(
        self, container: Document, written: Sequence[JSON]
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the images among the files that code has written, without those that are too large."""
        for file in written if self._seen.has_room else ():
            entry = container.state["files"].get(below_folder(file["path"]))
            if entry is None or entry["bytes"] > SEEN_IMAGE:
                continue
            pieces = self._store.read_content(self._project, entry["content"])
            content = b"".join([piece async for piece in pieces])
            kind = image_type(content[:SIGNATURE_BYTES])
            if kind is not None:
                yield kind, content


def _inline(details: JSON) -> int:
    """Return the bytes of the images that the outputs of a call hold."""
    return sum(len(each.get("url", "")) for each in details["outputs"]) * 3 // 4
