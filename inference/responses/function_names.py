"""Names of functions that chat models take, for tools of any name."""

import hashlib
import re

MAX_NAME = 64
"""Characters of a function's name."""

_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_-]")


def function_name(name: str, namespace: str | None) -> str:
    """Return a name that chat models take."""
    joined = name if namespace is None else f"{namespace.removesuffix('__')}__{name}"
    valid = _FORBIDDEN.sub("_", joined)
    return valid if valid == joined and 0 < len(valid) <= MAX_NAME else hashed_name(valid, joined)


def hashed_name(name: str, whole: str) -> str:
    """Return a name that is shortened, or made different from an equal one, by a hash."""
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9]}_{digest}"
