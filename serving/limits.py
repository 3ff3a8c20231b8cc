"""The limiting stage: what a caller may send, and how much of it the worker holds at once."""

from collections import Counter

import orjson

from handlers.credentials import CALLER_HEADERS
from handlers.errors import BadRequest, TooLarge, Unavailable
from handlers.provider_parameters import CHAT, EMBEDDING
from inference.retrieval.uploads import MAX_PART
from serving.request import Request

MULTIPART = b"multipart/form-data"
PARAMETER_PREFIXES = (CHAT.encode(), EMBEDDING.encode())
SINGLE_HEADERS = frozenset(
    {b"authorization", b"host", b"openai-beta", *(name.encode() for name in CALLER_HEADERS)}
)
"""Headers that decide who asks, who is asked, or by which version of the API."""


class Shares:
    """Counts bytes up to a limit, in all and for one `sharer`.

    `largest` is the size that one body may have, which always fits.
    """

    def __init__(self, limit: int, *, share: int, largest: int) -> None:
        self._limit = max(limit, largest)
        self._share = max(share, largest)
        self._taken = 0
        self._by_sharer: dict[str, int] = {}

    def take(self, sharer: str, size: int) -> None:
        """Count `size` more bytes; raises Unavailable where they are too many."""
        of_sharer = self._by_sharer.get(sharer, 0) + size
        if self._taken + size > self._limit or of_sharer > self._share:
            raise Unavailable(
                "The server is reading too many large request bodies; try again later.",
                code="too_many_large_bodies",
                headers={"Retry-After": "2"},
            )
        self._taken += size
        self._by_sharer[sharer] = of_sharer

    def give_back(self, sharer: str, size: int) -> None:
        """Free bytes that were taken."""
        self._taken -= size
        self._by_sharer[sharer] -= size
        if not self._by_sharer[sharer]:
            del self._by_sharer[sharer]


class HeldBodies(Shares):
    """Bounds the bytes that bodies of a worker's requests take in memory.

    Bodies that arrive in one piece are not counted.
    """

    def add(self, request: Request, size: int) -> None:
        """Count `size` more bytes of a request's body; raises Unavailable where they are too many."""
        self.take(request.principal.sharer, size)
        request.held += size

    def release(self, request: Request) -> None:
        """Free the body of a request that has ended."""
        if request.held:
            self.give_back(request.principal.sharer, request.held)
            request.held = 0


class SpooledBodies(Shares):
    """Bounds the bytes that files on their way to providers take on a worker's disk."""

    def add(self, request: Request, size: int) -> None:
        """Count `size` more bytes of a request's files; raises Unavailable where they are too many."""
        self.take(request.principal.sharer, size)
        request.spooled += size

    def release(self, request: Request) -> None:
        """Delete the files of a request that has ended."""
        if request.spool is not None:
            request.spool.close()
            request.spool = None
        if request.spooled:
            self.give_back(request.principal.sharer, request.spooled)
            request.spooled = 0


def check_headers(request: Request) -> None:
    """Raise BadRequest where one of `SINGLE_HEADERS`, or a provider's parameter, was sent twice."""
    headers = request.scope["headers"]
    if len(headers) == len(request.headers):
        return
    for name, count in Counter(name for name, _ in headers).items():
        is_single = name in SINGLE_HEADERS or name.startswith(PARAMETER_PREFIXES)
        if is_single and count > 1:
            shown = name.decode("latin-1")
            raise BadRequest(f"The header '{shown}' was sent more than once.", code="repeated_header")


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


def too_large(limit: int, what: str = "request body") -> TooLarge:
    """Return the error of a body, or of a WebSocket's message, over `limit` bytes."""
    message = f"The {what} is larger than this server's limit of {limit} bytes."
    return TooLarge(message, code="request_too_large")
