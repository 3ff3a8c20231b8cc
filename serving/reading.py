"""Reads a request's body as it arrives: bounded, and decompressed where it is compressed."""

import asyncio
import io
import zlib
from collections.abc import AsyncIterator, Callable

from handlers.errors import ApiError, BadRequest
from serving.limits import too_large
from serving.request import Message, Receive

ZLIB_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
SLICE = 256 * 1024
"""Bytes that are decompressed before the event loop gets its turn."""


class ClientDisconnect(Exception):
    """The client disconnected before its body had arrived."""


async def read_pieces(receive: Receive, limit: int, encoding: str = "") -> AsyncIterator[bytes]:
    """Yield the body as it arrives, decompressed; raises TooLarge once it is over `limit` bytes."""
    pieces = _received(receive, limit)
    if encoding and encoding != "identity":
        pieces = _decompressed(pieces, limit, encoding)
    async for piece in pieces:
        yield piece


async def read_whole(receive: Receive, limit: int, hold: Callable[[int], None], encoding: str = "") -> bytes:
    """Return the whole body.

    Most come in one piece; `hold` is called with the size of each piece of the others.
    """
    message = await receive()
    piece: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body") and not encoding:
        if len(piece) > limit:
            raise too_large(limit)
        return piece
    # Joining pieces at the end would copy all of them at once; this buffer grows where it is, and is not
    # copied when it is taken.
    whole = io.BytesIO()
    async for piece in read_pieces(_Replay(message, receive), limit, encoding):
        hold(len(piece))
        whole.write(piece)
    return whole.getvalue()


class _Replay:
    """Receives one message again, then the rest."""

    def __init__(self, message: Message, receive: Receive) -> None:
        self._message: Message | None = message
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._message = self._message, None
        return await self._receive() if message is None else message


async def _received(receive: Receive, limit: int) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        if piece:
            yield piece
        if not message.get("more_body"):
            return


async def _decompressed(pieces: AsyncIterator[bytes], limit: int, encoding: str) -> AsyncIterator[bytes]:
    if encoding not in ZLIB_WBITS:
        raise ApiError(
            f"Unsupported Content-Encoding: '{encoding[:100]}'. Send the body as gzip, deflate or as it is.",
            status=415,
            type="invalid_request_error",
            code="unsupported_content_encoding",
        )
    decompressor = zlib.decompressobj(ZLIB_WBITS[encoding])
    size = 0
    try:
        async for piece in pieces:
            rest = piece
            while rest and not decompressor.eof:
                data = decompressor.decompress(rest, SLICE)
                rest = decompressor.unconsumed_tail
                size += len(data)
                if size > limit:
                    raise too_large(limit)
                yield data
                if rest:
                    await asyncio.sleep(0)
    except zlib.error as exc:
        raise BadRequest(
            f"We could not decompress the body of your request as {encoding}: {exc}.",
            code="invalid_content_encoding",
        ) from exc
    if not decompressor.eof:
        raise BadRequest(
            f"The {encoding} body of your request ends too early.", code="invalid_content_encoding"
        )
