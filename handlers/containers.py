"""Containers and their files: create, list, retrieve, delete, and the files' bytes."""

from functools import partial
from pathlib import PurePosixPath
from typing import Unpack

from handlers.context import Binary, Context, UploadedFile
from handlers.downloads import download
from handlers.errors import BadRequest, NotFound
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from inference.code.container_records import view
from inference.code.containers import EXPIRES_MINUTES, name_label
from inference.code.errors import ContainerExpired
from persistence.collections import CONTAINER_FILES, CONTAINERS
from persistence.store import child_id
from persistence.types import JSON

MAX_NAME = 256
"""Characters of a container's name."""

MAX_FILE_IDS = 50
"""Files that a container may be created with."""

MAX_EXPIRES_MINUTES = 24 * 60


@operation("CreateContainer")
async def create_container(context: Context, body: JSON) -> JSON:
    """Create a container with copies of files."""
    minutes = (body.get("expires_after") or {}).get("minutes", EXPIRES_MINUTES)
    _check(body, minutes)
    containers, memory_limit = context.services.containers, body.get("memory_limit") or "1g"
    if problem := await containers.sandboxes.check():
        message = f"Containers are not available on this server, which cannot run code: {problem}."
        raise BadRequest(message, code="unsupported_parameter")
    if problem := containers.memory_problem(memory_limit):
        raise BadRequest(problem, param="memory_limit", code="unsupported_value")
    return await containers.create(
        context.project,
        body["name"],
        file_ids=body.get("file_ids") or (),
        memory_limit=memory_limit,
        expires_minutes=minutes,
    )


@operation("ListContainers")
async def list_containers(context: Context, name: str | None = None, **page: Unpack[PageQuery]) -> JSON:
    """Return a page of the project's containers, of one name if one is given."""
    label = name_label(name) if name else None
    return list_page(await read_page(context, CONTAINERS, label=label, **page), view)


@operation("RetrieveContainer")
async def retrieve_container(context: Context, container_id: str) -> JSON:
    """Return the container; unless it has expired, this is a use of it."""
    records = context.services.containers.records
    try:
        return view(await records.use(context.project, container_id))
    except ContainerExpired:
        return view(await records.get(context.project, container_id))


@operation("DeleteContainer")
async def delete_container(context: Context, container_id: str) -> JSON:
    """Delete the container with its files."""
    await context.services.containers.delete(context.project, container_id)
    return {"id": container_id, "object": "container.deleted", "deleted": True}


# --- files ---


@operation("CreateContainerFile")
async def create_container_file(context: Context, container_id: str, body: JSON | None = None) -> JSON:
    """Add an uploaded file, or a copy of a file of the project; one with the same path is replaced."""
    containers, body = context.services.containers, body or {}
    given = [name for name in ("file", "file_id") if body.get(name) is not None]
    if len(given) != 1:
        raise BadRequest("Expected either 'file' or 'file_id'.", param="file", code="invalid_value")
    if given == ["file_id"]:
        return await containers.add_file(context.project, container_id, body["file_id"])
    uploaded = body["file"]
    if not isinstance(uploaded, UploadedFile):
        message = "Invalid 'file': upload it as a part of a form (multipart/form-data)."
        raise BadRequest(message, param="file", code="invalid_type")
    return await containers.add_content(
        context.project, container_id, uploaded.filename, uploaded.content_id, uploaded.size
    )


@operation("ListContainerFiles")
async def list_container_files(context: Context, container_id: str, **page: Unpack[PageQuery]) -> JSON:
    """Return a page of the container's files."""
    await context.services.containers.records.use(context.project, container_id)
    found = await read_page(
        context, CONTAINER_FILES, container_id, to_id=partial(child_id, container_id), **page
    )
    return list_page(found)


@operation("RetrieveContainerFile")
async def retrieve_container_file(context: Context, container_id: str, file_id: str) -> JSON:
    """Return the file's object."""
    return (await context.services.containers.get_file(context.project, container_id, file_id)).value


@operation("RetrieveContainerFileContent")
async def retrieve_container_file_content(context: Context, container_id: str, file_id: str) -> Binary:
    """Return the file's bytes, or the range of them that the `Range` header asks for."""
    containers = context.services.containers
    document = await containers.get_file(context.project, container_id, file_id)
    name = PurePosixPath(document.value["path"]).name
    missing = NotFound(f"File '{file_id}' not found in container '{container_id}'.", param="file_id")
    return await download(
        context, partial(containers.read_file, document), name, document.value["bytes"], missing
    )


@operation("DeleteContainerFile")
async def delete_container_file(context: Context, container_id: str, file_id: str) -> JSON:
    """Delete the file."""
    await context.services.containers.delete_file(context.project, container_id, file_id)
    return {"id": file_id, "object": "container.file.deleted", "deleted": True}


def _check(body: JSON, minutes: int) -> None:
    """Refuse what this server's containers do not have."""
    if body.get("skills"):
        raise BadRequest(
            "This server does not support 'skills'.", param="skills", code="unsupported_parameter"
        )
    if (body.get("network_policy") or {}).get("type", "disabled") != "disabled":
        message = "Containers of this server have no network: 'network_policy.type' must be 'disabled'."
        raise BadRequest(message, param="network_policy.type", code="unsupported_value")
    if not 1 <= len(body["name"]) <= MAX_NAME:
        message = f"Invalid 'name': expected 1 to {MAX_NAME} characters."
        raise BadRequest(message, param="name", code="invalid_value")
    if not 1 <= minutes <= MAX_EXPIRES_MINUTES:
        message = f"Invalid 'expires_after.minutes': expected 1 to {MAX_EXPIRES_MINUTES}."
        raise BadRequest(message, param="expires_after.minutes", code="invalid_value")
    if len(body.get("file_ids") or ()) > MAX_FILE_IDS:
        message = f"Invalid 'file_ids': at most {MAX_FILE_IDS} files."
        raise BadRequest(message, param="file_ids", code="array_above_max_length")
