"""Files: create, list, retrieve, delete, and their bytes."""

from functools import partial
from typing import Unpack

from handlers.context import Binary, Context
from handlers.downloads import download
from handlers.errors import BadRequest, NotFound
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from inference.retrieval.files import purpose_label
from persistence.collections import FILES
from persistence.types import JSON


@operation("createFile")
async def create_file(context: Context, body: JSON) -> JSON:
    """Create a file; the bytes of the part `file` are already in the store."""
    uploaded = body["file"]
    if body["purpose"] == "auth" and not context.principal.is_astra:
        message = "Invalid 'purpose': files of credentials are for ASTROLABE_AUTH=astra only."
        raise BadRequest(message, param="purpose", code="invalid_value")
    document = await context.services.retrieval.files.create(
        context.project,
        content=uploaded.content_id,
        filename=uploaded.filename,
        size=uploaded.size,
        purpose=body["purpose"],
        media_type=uploaded.content_type,
        expires_after=body.get("expires_after"),
        embedding_model=context.headers.get("embedding-model") if context.principal.is_astra else None,
    )
    return document.value


@operation("listFiles")
async def list_files(
    context: Context,
    purpose: str | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """Return a page of the project's files, of one purpose if one is named."""
    label = purpose_label(purpose) if purpose is not None else None
    return list_page(await read_page(context, FILES, label=label, **page))


@operation("retrieveFile")
async def retrieve_file(context: Context, file_id: str) -> JSON:
    """Return the file object."""
    document = await context.services.retrieval.files.get(context.project, file_id)
    return document.value


@operation("deleteFile")
async def delete_file(context: Context, file_id: str) -> JSON:
    """Delete the file, its bytes and its chunks in vector stores."""
    await context.services.retrieval.files.delete(context.project, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


@operation("downloadFile")
async def download_file(context: Context, file_id: str) -> Binary:
    """Return the file's bytes, or the range of them that the `Range` header asks for."""
    files = context.services.retrieval.files
    document = await files.get(context.project, file_id)
    files.check_download(document)
    value = document.value
    missing = NotFound(f"No such File object: {file_id}", param="id")
    return await download(context, partial(files.read, document), value["filename"], value["bytes"], missing)
