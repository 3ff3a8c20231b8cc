"""Downloads of stored files, whole or a range of them."""

from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from werkzeug.http import parse_range_header

from handlers.context import Binary, Context
from handlers.errors import ApiError, NotFound
from persistence.errors import ContentNotFound


async def download(
    context: Context,
    read: Callable[[int, int], AsyncIterator[bytes]],
    filename: str,
    size: int,
    missing: NotFound,
) -> Binary:
    """Return a file's bytes, or the range of them that the `Range` header asks for.

    `read` yields the bytes from a start to an end. Raises `missing` if they were deleted a moment ago.
    """
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
    }
    span = _requested_range(context.headers.get("range"), size)
    start, end = span or (0, size)
    pieces = await _begun(read(start, end), missing)
    if span is None:
        return Binary(pieces, size, headers=headers)
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
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


async def _begun(pieces: AsyncIterator[bytes], missing: NotFound) -> AsyncIterator[bytes]:
    """The same pieces, the first of which is there; `missing` if they were deleted a moment ago."""
    try:
        first = await anext(pieces, b"")
    except ContentNotFound as exc:
        raise missing from exc

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_of_them()
