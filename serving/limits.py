"""The limiting stage: what a caller may bring."""

import orjson

from handlers.errors import TooLarge
from inference.retrieval.uploads import MAX_PART
from serving.request import Request

MULTIPART = b"multipart/form-data"


def check_declared(request: Request) -> None:
    """Raise TooLarge where the request's own Content-Length is over its caller's limits."""
    declared = request.headers.raw(b"content-length")
    if not declared.isdigit():
        return
    limit = request.principal.limits.body
    if request.headers.raw(b"content-type").lower().startswith(MULTIPART):
        limit += file_limit(request)
    if int(declared) > limit:
        raise too_large(limit)


def check_body(request: Request, body: object) -> None:
    """Raise TooLarge for a body that came without a socket and is over its caller's limit."""
    if len(orjson.dumps(body)) > request.principal.limits.body:
        raise too_large(request.principal.limits.body)


def file_limit(request: Request) -> int:
    """Return the bytes of a file that the request may bring; a part of an upload has OpenAI's limit too."""
    limit = request.principal.limits.file
    return min(limit, MAX_PART) if request.operation_id == "addUploadPart" else limit


def file_too_large(name: str, limit: int) -> TooLarge:
    """Return the error of a file over `limit` bytes, in the field of that name."""
    message = f"'{name}' is larger than this server's limit of {limit} bytes."
    return TooLarge(message, param=name, code="request_too_large")


def too_large(limit: int) -> TooLarge:
    """Return the error of a body over `limit` bytes."""
    return TooLarge(
        f"The request body is larger than this server's limit of {limit} bytes.", code="request_too_large"
    )
