"""The files of a vector store: create, list, retrieve, update, delete, and their text."""

from functools import partial
from typing import Literal, Unpack

from handlers.context import Context
from handlers.credentials import ingestion_settings
from handlers.errors import BadRequest
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import check_fixed
from inference.errors import DocumentError
from inference.retrieval.attachments import Attachment, status_label, vector_store_file_id
from inference.retrieval.chunking import parse_chunking
from persistence.collections import VECTOR_STORE_FILES
from persistence.types import JSON

Status = Literal["in_progress", "completed", "failed", "cancelled"]


@operation("createVectorStoreFile")
async def create_vector_store_file(context: Context, vector_store_id: str, body: JSON) -> JSON:
    """Put a file into the store; it is ingested in the background."""
    files = context.services.retrieval.vector_store_files
    attachment = Attachment(
        body["file_id"],
        body.get("attributes") or {},
        parse_chunking(body.get("chunking_strategy")),
        caller=(await ingestion_settings(context)).caller,
    )
    await files.attach(context.project, vector_store_id, [attachment])
    return (await files.get(context.project, vector_store_id, attachment.file)).value


@operation("listVectorStoreFiles")
async def list_vector_store_files(
    context: Context,
    vector_store_id: str,
    filter: Status | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """Return a page of the store's files, of one status if one is named."""
    await context.services.retrieval.vector_stores.get(context.project, vector_store_id)
    return await files_page(context, vector_store_id, status_label(filter) if filter else None, **page)


async def files_page(
    context: Context, vector_store_id: str, label: str | None, **page: Unpack[PageQuery]
) -> JSON:
    """Return a page of the store's files that have a label."""
    to_id = partial(vector_store_file_id, vector_store_id)
    return list_page(
        await read_page(context, VECTOR_STORE_FILES, vector_store_id, label=label, to_id=to_id, **page)
    )


@operation("getVectorStoreFile")
async def get_vector_store_file(context: Context, vector_store_id: str, file_id: str) -> JSON:
    """Return the file as it is in the store."""
    return (
        await context.services.retrieval.vector_store_files.get(context.project, vector_store_id, file_id)
    ).value


@operation("updateVectorStoreFileAttributes")
async def update_vector_store_file_attributes(
    context: Context, vector_store_id: str, file_id: str, body: JSON
) -> JSON:
    """Set the file's attributes, which searches filter by."""
    if "chunking_strategy" in body:
        shown = await get_vector_store_file(context, vector_store_id, file_id)
        check_fixed(context, shown, body, {"attributes"})
    document = await context.services.retrieval.vector_store_files.set_attributes(
        context.project, vector_store_id, file_id, body["attributes"] or {}
    )
    return document.value


@operation("deleteVectorStoreFile")
async def delete_vector_store_file(context: Context, vector_store_id: str, file_id: str) -> JSON:
    """Take the file out of the store; the file itself stays."""
    await context.services.retrieval.vector_store_files.detach(context.project, vector_store_id, file_id)
    return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


@operation("retrieveVectorStoreFileContent")
async def retrieve_vector_store_file_content(context: Context, vector_store_id: str, file_id: str) -> JSON:
    """Return the file's text; an empty page if it is not ingested."""
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
