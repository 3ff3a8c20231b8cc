"""The files of a vector store: create, list, retrieve, update, delete, and their text."""

from functools import partial
from typing import Any, Literal, Unpack

from handlers.context import Context
from handlers.errors import BadRequest
from handlers.pages import PageQuery, list_envelope, read_page
from handlers.registry import operation
from inference.errors import DocumentError
from inference.retrieval.chunking import parse_chunking
from inference.retrieval.members import Attachment, member_id, status_label
from persistence.collections import VECTOR_STORE_FILES
from persistence.types import JSON

Status = Literal["in_progress", "completed", "failed", "cancelled"]


@operation("createVectorStoreFile")
async def create_vector_store_file(context: Context, vector_store_id: str, body: dict[str, Any]) -> JSON:
    """Put a file into the store; it is ingested in the background."""
    members = context.services.retrieval.members
    attachment = Attachment(
        body["file_id"], body.get("attributes") or {}, parse_chunking(body.get("chunking_strategy"))
    )
    await members.attach(context.project, vector_store_id, [attachment])
    return (await members.get(context.project, vector_store_id, attachment.file)).value


@operation("listVectorStoreFiles")
async def list_vector_store_files(
    context: Context,
    vector_store_id: str,
    filter: Status | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """A page of the store's files, of one status where one is named."""
    await context.services.retrieval.vector_stores.get(context.project, vector_store_id)
    found = await read_page(
        context,
        VECTOR_STORE_FILES,
        vector_store_id,
        label=status_label(filter) if filter else None,
        to_id=partial(member_id, vector_store_id),
        **page,
    )
    return list_envelope(found)


@operation("getVectorStoreFile")
async def get_vector_store_file(context: Context, vector_store_id: str, file_id: str) -> JSON:
    """The file as it is in the store."""
    return (await context.services.retrieval.members.get(context.project, vector_store_id, file_id)).value


@operation("updateVectorStoreFileAttributes")
async def update_vector_store_file_attributes(
    context: Context, vector_store_id: str, file_id: str, body: dict[str, Any]
) -> JSON:
    """Give the file other attributes, which searches filter by from now on."""
    document = await context.services.retrieval.members.set_attributes(
        context.project, vector_store_id, file_id, body["attributes"] or {}
    )
    return document.value


@operation("deleteVectorStoreFile")
async def delete_vector_store_file(context: Context, vector_store_id: str, file_id: str) -> JSON:
    """Take the file out of the store; the file itself stays."""
    await context.services.retrieval.members.detach(context.project, vector_store_id, file_id)
    return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


@operation("retrieveVectorStoreFileContent")
async def retrieve_vector_store_file_content(context: Context, vector_store_id: str, file_id: str) -> JSON:
    """The text that was made of the file; nothing before it was ingested."""
    try:
        text = await context.services.retrieval.file_text(context.project, vector_store_id, file_id)
    except DocumentError as exc:
        raise BadRequest(exc.message, param="file_id", code=exc.code) from exc
    return {
        "object": "vector_store.file_content.page",
        "data": [] if text is None else [{"type": "text", "text": text}],
        "has_more": False,
        "next_page": None,
    }
