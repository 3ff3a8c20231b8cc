"""Ids of the kind OpenAI gives its objects."""

import hashlib
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


def derived_id(prefix: str, *parts: str) -> str:
    """The id that these parts always have, and that no other parts have."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=LENGTH).digest()
    return prefix + digest.translate(CHARACTERS).decode()
