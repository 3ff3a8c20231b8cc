import asyncio
import hashlib
from typing import Any

import pytest

from handlers import files, uploads
from handlers.errors import NotFound
from inference.retrieval.errors import RequestRefused
from persistence.types import JSON
from tests.fixtures.pages import PAGE
from tests.fixtures.refusals import refused
from tests.inference.retrieval.library import Library, until

PARTS = [b"a" * 70_000, b"b" * 5, b"c" * 200_000]
WHOLE = b"".join(PARTS)


async def create(library: Library, size: int = len(WHOLE), **fields: Any) -> JSON:
    body = {"filename": "whole.txt", "purpose": "assistants", "bytes": size, "mime_type": "text/plain"}
    return await uploads.create_upload(library.context(), {**body, **fields})


async def add(library: Library, upload: JSON, data: bytes, project: str = "p") -> str:
    part = await library.uploaded(data, "part", project)
    added = await uploads.add_upload_part(library.context(project), upload["id"], {"data": part})
    assert (added["object"], added["upload_id"]) == ("upload.part", upload["id"])
    return str(added["id"])


async def complete(library: Library, upload: JSON, parts: list[str], **fields: Any) -> JSON:
    return await uploads.complete_upload(library.context(), upload["id"], {"part_ids": parts, **fields})


async def test_parts_that_come_in_parallel_are_joined_in_the_order_given(library: Library) -> None:
    upload = await create(library, expires_after={"anchor": "created_at", "seconds": 7200})
    assert upload["status"] == "pending"
    assert upload["expires_at"] == upload["created_at"] + 3600
    last, first, middle = await asyncio.gather(
        *(add(library, upload, data) for data in (PARTS[2], PARTS[0], PARTS[1]))
    )
    md5 = hashlib.md5(WHOLE).hexdigest()
    done = await complete(library, upload, [first, middle, last], md5=md5)
    assert done["status"] == "completed"
    file = done["file"]
    assert (file["filename"], file["bytes"], file["purpose"]) == ("whole.txt", len(WHOLE), "assistants")
    assert file["expires_at"] == file["created_at"] + 7200
    assert await files.retrieve_file(library.context(), file["id"]) == file
    assert (await library.download(file["id"]))[1] == WHOLE


async def test_a_completed_upload_leaves_its_file_and_nothing_of_its_parts(library: Library) -> None:
    await library.file(WHOLE)
    one_file = library.census()
    upload = await create(library)
    parts = [await add(library, upload, data) for data in PARTS]
    unused = await add(library, upload, b"not named at the end")
    await complete(library, upload, parts)
    census = library.census()
    assert census["contents"] - one_file["contents"] == 1
    assert census["files"] - one_file["files"] == 1
    assert census["documents"] - one_file["documents"] == 2  # the upload, and its file
    assert census["jobs"] == one_file["jobs"]
    assert unused not in parts


async def test_an_upload_is_completed_once(library: Library) -> None:
    upload = await create(library, 1)
    part = await add(library, upload, b"x")
    results = await asyncio.gather(
        *(complete(library, upload, [part]) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, dict) for result in results) == 1
    errors = [result for result in results if isinstance(result, RequestRefused)]
    assert len(errors) == 4, results
    census = library.census()
    assert (census["contents"], census["files"]) == (1, 1)
    assert len((await files.list_files(library.context(), **PAGE))["data"]) == 1
    error = await refused(complete(library, upload, [part]))
    assert error.message == f"Upload '{upload['id']}' is completed and cannot be completed."


@pytest.mark.parametrize(
    ("names", "param"),
    [
        (["first"], "part_ids"),
        ([], "part_ids"),
        (["first", "second", "second"], "part_ids"),
        (["first", "part_unknown"], "part_ids[1]"),
        (["first", "other"], "part_ids[1]"),
    ],
)
async def test_missing_doubled_and_foreign_parts_are_refused_and_the_upload_goes_on(
    library: Library, names: list[str], param: str
) -> None:
    upload, other = await create(library, 4), await create(library, 2)
    parts = {
        "first": await add(library, upload, b"ab"),
        "second": await add(library, upload, b"cd"),
        "other": await add(library, other, b"cd"),
    }
    before = library.census()
    error = await refused(complete(library, upload, [parts.get(name, name) for name in names]))
    assert (error.status, error.param) == (400, param)
    assert library.census() == before
    done = await complete(library, upload, [parts["first"], parts["second"]])
    assert (await library.download(done["file"]["id"]))[1] == b"abcd"


async def test_a_wrong_md5_is_refused_and_leaves_no_file(library: Library) -> None:
    upload = await create(library, 2)
    part = await add(library, upload, b"ab")
    before = library.census()
    error = await refused(complete(library, upload, [part], md5="0" * 32))
    assert (error.status, error.param) == (400, "md5")
    assert library.census() == before
    assert (await files.list_files(library.context(), **PAGE))["data"] == []


async def test_an_empty_file_can_be_uploaded_in_no_parts(library: Library) -> None:
    upload = await create(library, 0)
    assert (await complete(library, upload, []))["file"]["bytes"] == 0


@pytest.mark.parametrize("size", [-1, 8 * 1024**3 + 1])
async def test_sizes_that_no_file_has_are_refused(library: Library, size: int) -> None:
    error = await refused(create(library, size))
    assert (error.status, error.param) == (400, "bytes")


async def test_a_cancelled_upload_takes_no_parts_and_keeps_none(library: Library) -> None:
    upload = await create(library)
    bare = library.census()
    part = await add(library, upload, PARTS[0])
    cancelled = await uploads.cancel_upload(library.context(), upload["id"])
    assert cancelled == {**upload, "status": "cancelled"}
    assert library.census() == {**bare, "jobs": 0}
    assert (await refused(complete(library, upload, [part]))).status == 400
    assert (await refused(uploads.cancel_upload(library.context(), upload["id"]))).status == 400
    piece = await library.uploaded(b"x", "part")
    assert (
        await refused(uploads.add_upload_part(library.context(), upload["id"], {"data": piece}))
    ).status == 400


async def test_an_upload_expires_after_an_hour_with_its_parts(library: Library) -> None:
    upload = await create(library)
    bare = library.census()
    part = await add(library, upload, PARTS[0])
    [job] = library.queued("expire")
    assert job["due"] == upload["created_at"] + 3600
    await library.hasten("expire")

    async def expired() -> bool:
        return library.census() == {**bare, "jobs": 0}

    await until(expired)
    error = await refused(complete(library, upload, [part]))
    assert error.message == f"Upload '{upload['id']}' is expired and cannot be completed."


async def test_another_projects_upload_is_not_there(library: Library) -> None:
    upload = await create(library)
    other = library.context("other")
    part = await library.uploaded(b"x", "part", "other")
    for call in (
        uploads.add_upload_part(other, upload["id"], {"data": part}),
        uploads.complete_upload(other, upload["id"], {"part_ids": []}),
        uploads.cancel_upload(other, upload["id"]),
    ):
        error = await refused(call)
        assert isinstance(error, NotFound)
        assert error.message == f"No such Upload object: {upload['id']}"
