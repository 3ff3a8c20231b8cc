"""Which requests belong to one conversation, so that one deployment has its prompt cache."""

from hashlib import blake2b
from math import log
from random import random

from persistence.types import JSON

LONGEST_START = 4096
"""Characters of a conversation's first messages by which it is known."""


def affinity_key(request: JSON, conversation: str = "") -> bytes | None:
    """Return what the requests of one conversation have in common; None for one that stands alone.

    That is its `prompt_cache_key`, if it has one; else the id of the conversation; else, once the model has
    answered in it, what it begins with: up to the first message of the user.
    """
    given = request.get("prompt_cache_key") or conversation
    if isinstance(given, str) and given:
        return given.encode("utf-8", "surrogatepass")
    messages = request.get("messages")
    if not isinstance(messages, list):
        return None
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if "assistant" not in roles:
        return None
    end = roles.index("user") + 1 if "user" in roles else 1
    return blake2b(
        _text(messages[:end])[:LONGEST_START].encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()


def _text(messages: list[JSON]) -> str:
    contents = (message.get("content") for message in messages)
    return "\n".join(
        content[:LONGEST_START] if isinstance(content, str) else _parts(content) for content in contents
    )


def _parts(content: object) -> str:
    """Return the texts of a content's parts; a picture counts by its beginning."""
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            text = next((str(value)[:LONGEST_START] for name, value in part.items() if name != "type"), "")
        texts.append(text[:LONGEST_START])
    return "\n".join(texts)


def score(weight: float, key: bytes | None, deployment: str) -> float:
    """Return a deployment's score; the highest is asked first, in proportion to the weights.

    With a key it is the same each time (weighted rendezvous hashing): if a deployment goes, only its own
    conversations move. Without one it is drawn.
    """
    if weight <= 0:
        return 0.0
    if key is None:
        drawn = random()  # noqa: S311
    else:
        text = key + b"\0" + deployment.encode("utf-8", "surrogatepass")
        drawn = int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64
    return weight / -log(min(max(drawn, 1e-18), 1 - 1e-16))
