"""Uploads: a file in parts."""

from handlers.context import Context
from handlers.registry import operation
from persistence.types import JSON


@operation("createUpload")
async def create_upload(context: Context, body: JSON) -> JSON:
    """Create an upload, which must be completed within an hour."""
    return await context.services.retrieval.uploads.create(
        context.project,
        filename=body["filename"],
        purpose=body["purpose"],
        size=body["bytes"],
        media_type=body["mime_type"],
        expires_after=body.get("expires_after"),
    )


@operation("addUploadPart")
async def add_upload_part(context: Context, upload_id: str, body: JSON) -> JSON:
    """Add a part of at most 64 MB; parts may come in parallel and in any order."""
    uploaded = body["data"]
    return await context.services.retrieval.uploads.add_part(
        context.project, upload_id, content=uploaded.content_id, size=uploaded.size
    )


@operation("completeUpload")
async def complete_upload(context: Context, upload_id: str, body: JSON) -> JSON:
    """Create a file of the parts in the given order."""
    return await context.services.retrieval.uploads.complete(
        context.project, upload_id, parts=body["part_ids"], md5=body.get("md5")
    )


@operation("cancelUpload")
async def cancel_upload(context: Context, upload_id: str) -> JSON:
    """Cancel the upload."""
    return await context.services.retrieval.uploads.cancel(context.project, upload_id)
