"""The Range header of a download (RFC 9110, section 14): one range of bytes."""

import re

from handlers.errors import ApiError

RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) of the bytes asked for, end excluded; None for all of them.

    What is no single range of bytes is ignored, as the RFC lets a server do; a range that starts
    behind the end is refused with 416.
    """
    match = RANGE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(size - int(suffix), 0), size
    else:
        start, end = int(first), size if last is None else min(int(last) + 1, size)
        if last is not None and int(last) < start:
            return None
    if start >= end:
        raise ApiError(
            f"The range '{header}' does not lie within the {size} bytes of the file.",
            status=416,
            type="invalid_request_error",
            param="range",
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end
