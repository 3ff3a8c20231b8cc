"""The files of containers: a document and a content for each, and an index in the container's state.

The index ("files") holds for each path the id, the content and the size of its file, and the file of the API
that it is a copy of, if it is one. It is changed in the write that changes the files, so writers of one
container are in order, and one read of the container tells a worker what its sandbox lacks. Beside it
are the ids of all files that were copied ("copied"), also of those that code has changed or deleted since.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from inference.code.driver import FOLDER
from inference.code.errors import ContainerFileRefused
from inference.code.limits import Limits
from inference.identifiers import new_id
from inference.retrieval.contents import claim, delete_unclaimed
from persistence.collections import CONTAINER_FILES
from persistence.store import Delete, Document, Insert, Key, Operation, Replace, Store, child_id
from persistence.types import JSON

MAX_FILES = 500
"""Files of a container."""

MAX_BYTES = Limits().disk
"""Bytes of all files of a container."""

MAX_NAME = 255
"""Bytes of a file's or a folder's name."""

MAX_PATH = 1000
"""Bytes of a path below the container's folder."""

REPLACED_SECONDS = 600.0
"""Seconds for which a content stays after its file was replaced or deleted: it may be being downloaded."""


CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file for a container; its bytes are a content of the store already.

    `path` is below the container's folder. `source` is user or assistant, `origin` the id of the file of
    the API that it is a copy of.
    """

    path: str
    content: str
    size: int
    source: str
    origin: str | None = None


def checked_path(path: str, param: str = "file") -> str:
    """Return the path below a container's folder; raise ContainerFileRefused."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ContainerFileRefused(f"Invalid '{param}': the file's name is not Unicode.", param) from None
    names = path.split("/")
    if any(name in ("", ".", "..") for name in names) or CONTROL.search(path):
        raise ContainerFileRefused(f"Invalid '{param}': {path[:100]!r} is no path below {FOLDER}.", param)
    if len(encoded) > MAX_PATH or any(len(name.encode()) > MAX_NAME for name in names):
        raise ContainerFileRefused(
            f"Invalid '{param}': a name may have {MAX_NAME} bytes, and a path {MAX_PATH}.", param
        )
    return path


def path_of(filename: str, file_id: str, taken: Collection[str]) -> str:
    """Return the path for a copy of a file of the API: its name, or with its id where the name is taken."""
    name = CONTROL.sub("_", PurePosixPath(filename.replace("\\", "/")).name)
    while len(name.encode()) > MAX_NAME - len(file_id) - 1:
        stem, dot, extension = name.rpartition(".")
        name = f"{stem[:-1]}{dot}{extension}" if stem else name[:-1]
    if name in ("", ".."):
        return file_id
    return f"{file_id}-{name}" if name in taken else name


def shown_path(path: str) -> str:
    """Return a path as the API shows it and the code sees it."""
    return f"{FOLDER}/{path}"


def below_folder(shown: str) -> str:
    """Return the path below the container's folder of a path as the API shows it."""
    return shown.removeprefix(f"{FOLDER}/")


async def file_changes(
    store: Store,
    container: Document,
    added: Sequence[NewFile] = (),
    deleted: Mapping[str, str] = MappingProxyType({}),
) -> tuple[JSON, list[Operation], list[JSON]]:
    """Return the container's new state, the operations beside its own, and the added files' objects.

    A file whose path is taken replaces the other one and keeps its id. `deleted` are contents by path: what
    was replaced meanwhile stays. Raises ContainerFileRefused.
    """
    project = container.key.project
    index: dict[str, JSON] = dict(container.state["files"])
    operations: list[Operation] = []
    rest: list[Operation] = []
    shown = []
    for path, content in deleted.items():
        if path not in index or index[path]["content"] != content:
            continue
        entry = index.pop(path)
        if (document := await store.get(file_key(container, entry["id"]))) is not None:
            operations.append(Delete(document))
        rest.append(_drop(project, entry))
    for new in added:
        former = index.get(new.path)
        value = _object(container.id, new, former["id"] if former else new_id("cfile_"))
        key = file_key(container, value["id"])
        document = await store.get(key) if former else None
        state = {"content": new.content}
        if document is not None:
            operations.append(Replace(document, value=value, state=state))
        else:
            operations.append(Insert(key, value, state=state, parent=container.id))
        rest.append(claim(project, new.content))
        if former:
            rest.append(_drop(project, former))
        index[new.path] = {"id": value["id"], "content": new.content, "bytes": new.size, "origin": new.origin}
        shown.append(value)
    _check(index, [new.path for new in added])
    copied = {*container.state["copied"], *(new.origin for new in added if new.origin is not None)}
    return {**container.state, "files": index, "copied": sorted(copied)}, [*operations, *rest], shown


def file_key(container: Document, file_id: str) -> Key:
    """Return the key of a container's file."""
    return Key(container.key.project, CONTAINER_FILES, child_id(container.id, file_id))


def _object(container_id: str, new: NewFile, id: str) -> JSON:
    return {
        "id": id,
        "object": "container.file",
        "container_id": container_id,
        "created_at": int(time.time()),
        "bytes": new.size,
        "path": shown_path(new.path),
        "source": new.source,
    }


def _drop(project: str, entry: JSON) -> Operation:
    return delete_unclaimed(project, entry["content"], time.time() + REPLACED_SECONDS)


def _check(index: Mapping[str, JSON], added: Sequence[str]) -> None:
    """Raise ContainerFileRefused if there are too many files, or a file where another needs a folder."""
    if not added:
        return
    if len(index) > MAX_FILES:
        raise ContainerFileRefused(f"A container has at most {MAX_FILES} files.")
    if sum(entry["bytes"] for entry in index.values()) > MAX_BYTES:
        raise ContainerFileRefused(f"The files of a container have at most {MAX_BYTES} bytes together.")
    folders = {str(parent) for path in index for parent in PurePosixPath(path).parents}
    if clash := next((path for path in index if path in folders), None):
        raise ContainerFileRefused(f"'{shown_path(clash)}' would be a file and a folder.")
