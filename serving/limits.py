"""The limiting stage: what a caller may bring."""

import orjson

from handlers.context import Uploaded
from handlers.errors import TooLarge
from serving.request import Request

MULTIPART = b"multipart/form-data"


def check_declared(request: Request) -> None:
    """Raise TooLarge where the request's own Content-Length is over its caller's limits."""
    declared = request.headers.raw(b"content-length")
    if not declared.isdigit():
        return
    limits = request.principal.limits
    is_form = request.headers.raw(b"content-type").lower().startswith(MULTIPART)
    limit = limits.file + limits.body if is_form else limits.body
    if int(declared) > limit:
        raise too_large(limit)


def check_body(request: Request, body: object) -> None:
    """Raise TooLarge for a body that came without a socket and is over its caller's limit."""
    if len(orjson.dumps(body)) > request.principal.limits.body:
        raise too_large(request.principal.limits.body)


def check_files(request: Request, fields: list[tuple[str, str | Uploaded]]) -> None:
    """Raise TooLarge, naming the field, for a file that is over its caller's limit."""
    limit = request.principal.limits.file
    for name, value in fields:
        if isinstance(value, Uploaded) and value.size > limit:
            raise TooLarge(
                f"'{name}' is larger than this server's limit of {limit} bytes.",
                param=name,
                code="request_too_large",
            )


def too_large(limit: int) -> TooLarge:
    """Return the error of a body over `limit` bytes."""
    return TooLarge(
        f"The request body is larger than this server's limit of {limit} bytes.", code="request_too_large"
    )
