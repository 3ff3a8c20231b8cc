"""Batches: create, retrieve, cancel, list."""

from handlers.context import Context
from handlers.credentials import caller_settings, require_store
from handlers.errors import BadRequest
from handlers.pages import list_page, read_page
from handlers.registry import operation
from inference.batches.lines import ENDPOINTS
from persistence.collections import BATCHES
from persistence.types import JSON


@operation("createBatch")
async def create_batch(context: Context, body: JSON) -> JSON:
    """Create a batch of the requests in a file of purpose `batch`; they run in the background."""
    require_store(context, "batches")
    endpoint = body["endpoint"]
    if endpoint not in ENDPOINTS:
        names = ", ".join(f"'{name}'" for name in ENDPOINTS[:-1])
        message = f"Invalid value: '{endpoint}'. Supported values are: {names}, and '{ENDPOINTS[-1]}'."
        raise BadRequest(message, param="endpoint", code="invalid_value")
    files = context.services.retrieval.files
    file = await files.get(context.project, body["input_file_id"], "input_file_id")
    if file.value["purpose"] != "batch":
        raise BadRequest(
            f"Invalid purpose of the input file: '{file.value['purpose']}', where 'batch' is needed.",
            param="input_file_id",
            code="invalid_file_purpose",
        )
    return await context.services.batches.create(
        context.project,
        file,
        endpoint=endpoint,
        completion_window=body["completion_window"],
        metadata=body.get("metadata"),
        output_expires_after=body.get("output_expires_after"),
        settings=await caller_settings(context),
    )


@operation("retrieveBatch")
async def retrieve_batch(context: Context, batch_id: str) -> JSON:
    """Return the batch."""
    return (await context.services.batches.get(context.project, batch_id)).value


@operation("cancelBatch")
async def cancel_batch(context: Context, batch_id: str) -> JSON:
    """Begin to cancel the batch: lines in flight end, and what was answered is written."""
    return await context.services.batches.cancel(context.project, batch_id)


@operation("listBatches")
async def list_batches(context: Context, limit: int = 20, after: str | None = None) -> JSON:
    """Return a page of the project's batches, the newest first."""
    return list_page(await read_page(context, BATCHES, limit=limit, order="desc", after=after))
