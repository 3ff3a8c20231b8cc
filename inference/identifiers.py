"""Ids of the kind OpenAI gives its objects."""

import secrets
import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LENGTH = 24


def new_id(prefix: str) -> str:
    """A fresh id: the prefix with its separator (`asst_`, `file-`), then 24 random base62 characters."""
    return prefix + "".join(map(ALPHABET.__getitem__, _digits()))


def _digits() -> list[int]:
    """24 digits of base 62: 143 bits of the system's randomness, read at once."""
    number = secrets.randbits(LENGTH * 6 + 16)
    digits = []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(digit)
    return digits
