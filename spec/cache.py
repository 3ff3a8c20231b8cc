"""Caches normalized documents between starts, by a hash of everything they were made from."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

from spec.types import JSON


def digest(parts: Iterable[bytes]) -> str:
    """Return the cache name of the document made of these bytes.

    The modules of this package are hashed too: a changed rule misses the cache.
    """
    whole = hashlib.sha256()
    modules = sorted((one for one in files(__package__).iterdir() if one.name.endswith(".py")), key=str)
    for part in (*parts, *(one.read_bytes() for one in modules)):
        whole.update(len(part).to_bytes(8))
        whole.update(part)
    return whole.hexdigest()[:32]


def cached(directory: Path | None, name: str, make: Callable[[], JSON]) -> JSON:
    """Return the cached document of that name, making and storing it if it is missing.

    Writers may race: each writes its own file and renames it. Errors of the file system disable the
    cache.
    """
    if directory is None:
        return make()
    place = directory / f"{name}.json"
    # The standard parser, not orjson: upstream has integers beyond 64 bits.
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(place.read_bytes())
        if isinstance(found, dict):
            return found
    document = make()
    with contextlib.suppress(OSError):
        _write(place, json.dumps(document, separators=(",", ":")).encode())
    return document


def _write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=place.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(place)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
