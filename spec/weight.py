"""Estimate how long a JSON text takes to parse, which is one call of C code that lets no other thread run.

All counting here is in blocks, between which other threads run.
"""

ESCAPES = 32
"""Escaped characters of a string that take as long as one value."""

NON_ASCII = 200
"""Bytes of text that is not ASCII that take as long as one value."""

_BLOCK = 256 * 1024


def takes_long(raw: bytes, values: int) -> bool:
    """Return whether parsing the text takes as long as parsing that many values."""
    texts = count(raw, b"\\") // ESCAPES + _non_ascii(raw) // NON_ASCII
    if count(raw, b",") + count(raw, b"[") + count(raw, b"{") + texts <= values:
        return False
    return texts > values or sum(count_outside_strings(raw, values, values)) + texts > values


def count(raw: bytes, mark: bytes) -> int:
    """Return how often the byte occurs."""
    # Finding is ten times faster than counting, and an image or a long word has none of the marks.
    total, start = 0, raw.find(mark)
    while start >= 0:
        total += raw.count(mark, start, start + _BLOCK)
        start = raw.find(mark, start + _BLOCK)
    return total


def _non_ascii(raw: bytes) -> int:
    """Return the bytes of the blocks that are not ASCII."""
    blocks = (raw[start : start + _BLOCK] for start in range(0, len(raw), _BLOCK))
    return sum(len(block) for block in blocks if not block.isascii())


def count_outside_strings(raw: bytes, most_commas: int, most_brackets: int) -> tuple[int, int]:
    """Return the numbers of commas and of opening brackets; counting stops above the most of either."""
    commas = brackets = start = 0
    inside = False
    while start < len(raw) and commas < most_commas and brackets <= most_brackets:
        end = start + _BLOCK
        block = raw[start:end]
        if (len(block) - len(block.rstrip(b"\\"))) % 2:  # an escape continues in the next block
            end += 1
            block = raw[start:end]
        parts = block.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[inside::2])
        commas += outside.count(b",")
        brackets += outside.count(b"[") + outside.count(b"{")
        inside ^= len(parts) % 2 == 0
        start = end
    return commas, brackets
