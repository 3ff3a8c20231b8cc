"""Keeps mended documents between starts, by the hash of all that they were made from."""

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
    """The name under which the document of these bytes is kept.

    The modules of this package are part of it: a mend that was changed is a cache that is missed.
    """
    whole = hashlib.sha256()
    modules = sorted((one for one in files(__package__).iterdir() if one.name.endswith(".py")), key=str)
    for part in (*parts, *(one.read_bytes() for one in modules)):
        whole.update(len(part).to_bytes(8))
        whole.update(part)
    return whole.hexdigest()[:32]


def cached(directory: Path | None, name: str, make: Callable[[], JSON]) -> JSON:
    """The document of that name, made and kept if it was not there.

    Writers may race: each writes a file of its own and renames it. A directory that cannot be
    written, or a file that cannot be read, is as good as no cache.
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
