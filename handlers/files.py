"""Files: create, list, retrieve, delete, and their bytes."""

from collections.abc import AsyncIterator
from typing import Unpack
from urllib.parse import quote

from werkzeug.http import parse_range_header

from handlers.context import Binary, Context
from handlers.errors import ApiError, BadRequest, NotFound
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from inference.retrieval.files import purpose_label
from persistence.collections import FILES
from persistence.errors import ContentNotFound
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
    size = document.value["bytes"]
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(document.value['filename'], safe='')}",
    }
    span = _requested_range(context.headers.get("range"), size)
    if span is None:
        return Binary(await _begun(files.read(document), file_id), size, headers=headers)
    start, end = span
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = await _begun(files.read(document, start, end), file_id)
    return Binary(pieces, end - start, headers=headers, status=206)


def _requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (start, end) of the one range of bytes that a Range header asks for, end excluded.

    None for the whole file: also where the header asks for several ranges or cannot be read, which
    RFC 9110 lets a server ignore. A range beyond the end is refused with 416.
    """
    asked = parse_range_header(header)
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    is_longer = asked.ranges[0][0] < -size < 0  # more than the last bytes: all of them
    span = (0, size) if is_longer else asked.range_for_length(size)
    if span is None:
        raise ApiError(
            f"The range '{header}' does not lie within the {size} bytes of the file.",
            status=416,
            type="invalid_request_error",
            param="range",
            headers={"content-range": f"bytes */{size}"},
        )
    return span


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
