"""Files of this server that a request to a provider names: their contents go along, as data URLs."""

import asyncio
import base64

from handlers.context import Context
from handlers.errors import BadRequest
from handlers.resources import find_file
from inference.images import MAX_IMAGE, SIGNATURE_BYTES, image_type
from persistence.types import JSON


async def with_image(context: Context, reference: JSON, param: str) -> JSON:
    """Return a reference to an image with its URL in place of the id of a file; NotFound, BadRequest."""
    file_id = reference.get("file_id")
    if file_id is None:
        return reference
    document = await find_file(context, file_id, f"{param}.file_id")
    size = document.value["bytes"]
    if size > MAX_IMAGE:
        raise _refused(param, file_id, f"has {size} bytes, where {MAX_IMAGE} are the most")
    pieces = context.services.retrieval.files.read(document)
    content = b"".join([piece async for piece in pieces])
    kind = image_type(content[:SIGNATURE_BYTES])
    if kind is None:
        raise _refused(param, file_id, "is not a png, jpeg, gif or webp image")
    encoded = await asyncio.to_thread(base64.b64encode, content)
    return {"image_url": f"data:{kind};base64,{encoded.decode()}"}


def _refused(param: str, file_id: str, what: str) -> BadRequest:
    return BadRequest(f"The file '{file_id}' {what}.", param=f"{param}.file_id", code="invalid_image")
