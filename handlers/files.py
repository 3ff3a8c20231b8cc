"""Files: create, list, retrieve, delete, and their bytes."""

from collections.abc import AsyncIterator
from typing import Any, Unpack
from urllib.parse import quote

from handlers.context import Binary, Context
from handlers.errors import NotFound
from handlers.pages import PageQuery, list_envelope, read_page
from handlers.ranges import parse_range
from handlers.registry import operation
from inference.retrieval.files import purpose_label
from persistence.collections import FILES
from persistence.errors import ContentNotFound
from persistence.types import JSON


@operation("createFile")
async def create_file(context: Context, body: dict[str, Any]) -> JSON:
    """Make a file of the part `file`, which the store has by now."""
    uploaded = body["file"]
    document = await context.services.retrieval.files.create(
        context.project,
        content=uploaded.content_id,
        filename=uploaded.filename,
        size=uploaded.size,
        purpose=body["purpose"],
        media_type=uploaded.content_type,
        expires_after=body.get("expires_after"),
    )
    return document.value


@operation("listFiles")
async def list_files(
    context: Context,
    purpose: str | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """A page of the project's files, of one purpose where one is named."""
    label = purpose_label(purpose) if purpose is not None else None
    return list_envelope(await read_page(context, FILES, label=label, **page))


@operation("retrieveFile")
async def retrieve_file(context: Context, file_id: str) -> JSON:
    """The file object."""
    document = await context.services.retrieval.files.get(context.project, file_id)
    return document.value


@operation("deleteFile")
async def delete_file(context: Context, file_id: str) -> JSON:
    """Delete the file, its bytes, and what vector stores made of it."""
    await context.services.retrieval.files.delete(context.project, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


@operation("downloadFile")
async def download_file(context: Context, file_id: str) -> Binary:
    """The bytes as they came, or the one range of them that `Range` asks for."""
    files = context.services.retrieval.files
    document = await files.get(context.project, file_id)
    files.check_download(document)
    size = document.value["bytes"]
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(document.value['filename'], safe='')}",
    }
    span = parse_range(context.headers.get("range"), size)
    if span is None:
        return Binary(await _begun(files.read(document), file_id), size, headers=headers)
    start, end = span
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = await _begun(files.read(document, start, end), file_id)
    return Binary(pieces, end - start, headers=headers, status=206)


async def _begun(pieces: AsyncIterator[bytes], file: str) -> AsyncIterator[bytes]:
    """The same pieces, the first of which is there; NotFound if the file was deleted a moment ago."""
    try:
        first = await anext(pieces, b"")
    except ContentNotFound as exc:
        raise NotFound(f"No such File object: {file}", param="id") from exc

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_of_them()
