"""What takes the room in the head of a request that is too large."""

import re
from collections.abc import Sequence

HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):")


def largest_part(lines: Sequence[bytes]) -> str:
    """Return a sentence that names the largest of a head's lines; the last one may be incomplete."""
    largest = max(lines, key=len)
    header = HEADER.match(largest)
    name = f"header '{header[1].decode()}'" if header else "request's line"
    return f"The largest is the {name}."
