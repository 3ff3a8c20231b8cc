"""The `tool_resources` of a request: checked with the rest of it, and created after that."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from handlers.context import Context
from handlers.credentials import ingestion_settings
from handlers.errors import ApiError
from handlers.resources import find_file
from inference.errors import InferenceError
from inference.retrieval.attachments import Attachment
from inference.retrieval.chunking import parse_chunking
from persistence.store import Insert
from persistence.types import JSON


@dataclass(frozen=True, slots=True)
class NewVectorStore:
    """A vector store that a request creates."""

    attachments: list[Attachment]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class ToolResources:
    """Checked `tool_resources`: the part that is stored, and the vector stores to create."""

    stored: JSON
    new: list[NewVectorStore]


async def check_tool_resources(
    context: Context, resources: JSON | None, param: str = "tool_resources"
) -> ToolResources:
    """Check that everything exists that the resources name; nothing is written.

    The error names the field at fault, of which `param` is the beginning.
    """
    stored: JSON = {}
    new: list[NewVectorStore] = []
    resources = resources or {}
    code, search = resources.get("code_interpreter"), resources.get("file_search")
    if code is not None:
        file_ids = code.get("file_ids") or []
        for index, id in enumerate(file_ids):
            await find_file(context, id, f"{param}.code_interpreter.file_ids[{index}]")
        stored["code_interpreter"] = {"file_ids": file_ids}
    if search is not None:
        ids = list(search.get("vector_store_ids") or [])
        for index, id in enumerate(ids):
            field = f"{param}.file_search.vector_store_ids[{index}]"
            await context.services.retrieval.vector_stores.get(context.project, id, field)
        stored["file_search"] = {"vector_store_ids": ids}
        for index, one in enumerate(search.get("vector_stores") or []):
            new.append(await _check_new(context, one, f"{param}.file_search.vector_stores[{index}]"))
    return ToolResources(stored, new)


async def _check_new(context: Context, asked: JSON, param: str) -> NewVectorStore:
    chunking = parse_chunking(asked.get("chunking_strategy"), f"{param}.chunking_strategy")
    attachments = [
        Attachment(file, chunking=chunking, param=f"{param}.file_ids[{index}]")
        for index, file in enumerate(asked.get("file_ids") or ())
    ]
    for attachment in attachments:
        await find_file(context, attachment.file, attachment.param)
    return NewVectorStore(attachments, asked.get("metadata") or {})


class RequestVectorStores:
    """The vector stores that a request creates; unused ones are deleted at the end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._project = context.project
        self._retrieval = context.services.retrieval
        self._made: list[str] = []
        self._for_files: str | None = None
        self._attached: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After any other error the objects that name the stores may have been written.
        if isinstance(error, ApiError | InferenceError):
            unused = self._made
        else:
            unused = [id for id in self._made if id == self._for_files != self._attached]
        for id in unused:
            await self._retrieval.vector_stores.delete(self._project, id)

    async def make(self, resources: ToolResources) -> JSON:
        """Create the new vector stores of checked resources; return the resources with their ids."""
        if not resources.new:
            return resources.stored
        ids = list(resources.stored["file_search"]["vector_store_ids"])
        for one in resources.new:
            settings = await ingestion_settings(self._context, [each.file for each in one.attachments])
            attachments = [replace(each, caller=settings.caller) for each in one.attachments]
            made = await self._retrieval.create_vector_store(
                self._project, attachments, model=settings.model, metadata=one.metadata
            )
            self._made.append(made.id)
            ids.append(made.id)
        return {**resources.stored, "file_search": {"vector_store_ids": ids}}

    async def attach(self, resources: JSON, messages: Iterable[Insert]) -> JSON:
        """Add the files that messages attach to a thread's tools; return its `tool_resources`.

        Called again for a thread that was changed meanwhile, it uses the vector store that it made before.
        """
        files = _attached_files(messages)
        return await self._add(resources, files["code_interpreter"], files["file_search"], expires=True)

    async def attach_files(self, resources: JSON, file_ids: list[str]) -> JSON:
        """Add files to both tools of an assistant; return its `tool_resources`."""
        return await self._add(resources, file_ids, file_ids, expires=False)

    async def _add(self, resources: JSON, code: list[str], search: list[str], *, expires: bool) -> JSON:
        """Add files to tools; those for file_search go into the first vector store, or a new one."""
        changed = dict(resources)
        if code:
            present = (resources.get("code_interpreter") or {}).get("file_ids") or []
            changed["code_interpreter"] = {"file_ids": list(dict.fromkeys([*present, *code]))}
        if search:
            ids = (resources.get("file_search") or {}).get("vector_store_ids") or [self._for_files]
            settings = await ingestion_settings(self._context, search)
            self._attached = await self._retrieval.attach_files(
                self._project,
                ids[0],
                search,
                expires=expires,
                caller=settings.caller,
                model=settings.model,
            )
            if self._attached not in {ids[0], *self._made}:
                self._for_files = self._attached
                self._made.append(self._attached)
            changed["file_search"] = {"vector_store_ids": [self._attached, *ids[1:]]}
        return changed


def _attached_files(messages: Iterable[Insert]) -> dict[str, list[str]]:
    """Return the ids of the files that messages attach, by the type of tool."""
    files: dict[str, list[str]] = {"file_search": [], "code_interpreter": []}
    for message in messages:
        for attachment in message.value["attachments"]:
            for tool in attachment.get("tools") or ():
                files[tool["type"]].append(attachment["file_id"])
    return files
