"""Ids of the kind OpenAI gives its objects."""

import os
import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LENGTH = 24

FAIR = 256 - 256 % len(ALPHABET)
"""Bytes from here on are thrown away, or the first characters would come more often."""

CHARACTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
UNFAIR = bytes(range(FAIR, 256))


def new_id(prefix: str) -> str:
    """A fresh id: the prefix with its separator (`asst_`, `file-`), then 24 random base62 characters."""
    characters = b""
    while len(characters) < LENGTH:  # all but always once
        characters += os.urandom(LENGTH + 8).translate(CHARACTERS, UNFAIR)
    return prefix + characters[:LENGTH].decode()
