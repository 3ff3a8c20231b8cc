"""File batches of a vector store: create, retrieve, cancel, list files."""

from dataclasses import replace
from typing import Unpack

from handlers.context import Context
from handlers.credentials import ingestion_settings
from handlers.errors import BadRequest
from handlers.pages import PageQuery
from handlers.registry import operation
from handlers.vector_store_files import Status, files_page
from inference.retrieval.attachments import Attachment, status_label
from inference.retrieval.chunking import parse_chunking
from persistence.types import JSON


@operation("createVectorStoreFileBatch")
async def create_vector_store_file_batch(context: Context, vector_store_id: str, body: JSON) -> JSON:
    """Put many files into the store, with attributes and chunking of their own or shared."""
    caller = (await ingestion_settings(context)).caller
    attachments = [replace(each, caller=caller) for each in _attachments(body)]
    document = await context.services.retrieval.vector_store_files.create_batch(
        context.project, vector_store_id, attachments
    )
    return document.value


@operation("getVectorStoreFileBatch")
async def get_vector_store_file_batch(context: Context, vector_store_id: str, batch_id: str) -> JSON:
    """Return the batch, with the counts of its files."""
    document = await context.services.retrieval.vector_store_files.get_batch(
        context.project, vector_store_id, batch_id
    )
    return document.value


@operation("cancelVectorStoreFileBatch")
async def cancel_vector_store_file_batch(context: Context, vector_store_id: str, batch_id: str) -> JSON:
    """Cancel what has not been ingested yet."""
    document = await context.services.retrieval.vector_store_files.cancel_batch(
        context.project, vector_store_id, batch_id
    )
    return document.value


@operation("listFilesInVectorStoreBatch")
async def list_files_in_vector_store_batch(
    context: Context,
    vector_store_id: str,
    batch_id: str,
    filter: Status | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """Return a page of the batch's files, of one status if one is named."""
    await context.services.retrieval.vector_store_files.get_batch(context.project, vector_store_id, batch_id)
    label = status_label(filter, batch_id) if filter else batch_id
    return await files_page(context, vector_store_id, label, **page)


def _attachments(body: JSON) -> list[Attachment]:
    """Return the files of the request: `files` with fields of their own, or `file_ids` that share them."""
    files: list[JSON] = body.get("files") or []
    ids: list[str] = body.get("file_ids") or []
    if files and ids:
        raise BadRequest("Give either 'file_ids' or 'files', not both.", param="files", code="invalid_value")
    if not files and not ids:
        raise BadRequest("Give 'file_ids' or 'files'.", param="file_ids", code="missing_required_parameter")
    if files:
        return [_attachment(item, number) for number, item in enumerate(files)]
    chunking = parse_chunking(body.get("chunking_strategy"))
    attributes = body.get("attributes") or {}
    return [Attachment(file, attributes, chunking, f"file_ids[{number}]") for number, file in enumerate(ids)]


def _attachment(item: JSON, number: int) -> Attachment:
    chunking = parse_chunking(item.get("chunking_strategy"), f"files[{number}].chunking_strategy")
    return Attachment(item["file_id"], item.get("attributes") or {}, chunking, f"files[{number}].file_id")
