"""The `tool_resources` of a request: checked first, made once everything in the request is."""

from collections.abc import Iterable
from dataclasses import dataclass

from handlers.context import Context
from handlers.resources import find_file
from inference.retrieval.attachments import Attachment
from inference.retrieval.chunking import parse_chunking
from persistence.store import Insert
from persistence.types import JSON


@dataclass(frozen=True, slots=True)
class NewVectorStore:
    """A vector store that a request asks to be made."""

    attachments: list[Attachment]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class ToolResources:
    """Checked `tool_resources`: what is stored, and the vector stores that are still to be made."""

    stored: JSON
    new: list[NewVectorStore]

    async def make(self, context: Context) -> JSON:
        """Make the vector stores; return the resources with their ids."""
        if not self.new:
            return self.stored
        made = [
            await context.services.retrieval.create_vector_store(
                context.project, one.attachments, metadata=one.metadata
            )
            for one in self.new
        ]
        ids = [*self.stored["file_search"]["vector_store_ids"], *(document.id for document in made)]
        return {**self.stored, "file_search": {"vector_store_ids": ids}}


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


async def attach_files(context: Context, resources: JSON, messages: Iterable[Insert]) -> JSON:
    """Put the files that messages attach within reach of the thread's tools; return its `tool_resources`.

    Files for file_search go into the thread's vector store, which is made if there is none.
    """
    files: dict[str, list[str]] = {"file_search": [], "code_interpreter": []}
    for message in messages:
        for attachment in message.value["attachments"]:
            for tool in attachment.get("tools") or ():
                files[tool["type"]].append(attachment["file_id"])
    changed = dict(resources)
    if files["code_interpreter"]:
        present = (resources.get("code_interpreter") or {}).get("file_ids") or []
        changed["code_interpreter"] = {
            "file_ids": list(dict.fromkeys([*present, *files["code_interpreter"]]))
        }
    if files["file_search"]:
        ids = (resources.get("file_search") or {}).get("vector_store_ids") or [None]
        id = await context.services.retrieval.attach_files(context.project, ids[0], files["file_search"])
        changed["file_search"] = {"vector_store_ids": [id, *ids[1:]]}
    return changed


def with_store(fresh: JSON, former: JSON) -> JSON:
    """Return a thread's resources as read again, with the vector store that an earlier attempt made."""
    if (fresh.get("file_search") or {}).get("vector_store_ids") or "file_search" not in former:
        return fresh
    return {**fresh, "file_search": former["file_search"]}
