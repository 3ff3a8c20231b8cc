import time
from pathlib import Path
from typing import Any

import pytest

from handlers import files
from handlers.errors import BadRequest, NotFound
from inference.retrieval.contents import delete_unclaimed
from tests.fixtures.pages import PAGE
from tests.fixtures.refusals import refused
from tests.inference.retrieval.library import Library, library_at, until
from tests.provider import ProviderProcess

DATA = bytes(range(256)) * 1000


async def test_a_file_is_shown_as_openai_shows_it(library: Library) -> None:
    file = await library.file(b"hello", "greeting.txt")
    assert file["id"].startswith("file-")
    assert abs(file.pop("created_at") - time.time()) < 5
    assert file == {
        "id": file["id"],
        "object": "file",
        "purpose": "assistants",
        "filename": "greeting.txt",
        "bytes": 5,
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    }
    assert {**await files.retrieve_file(library.context(), file["id"]), "created_at": 0} == {
        **file,
        "created_at": 0,
    }


async def test_a_content_that_no_object_claims_in_time_is_deleted(library: Library) -> None:
    left, claimed = [await library.uploaded(b"bytes") for _ in range(2)]
    for part in (left, claimed):
        await library.store.write(delete_unclaimed("p", part.content_id, time.time() + 0.3))
    file = await files.create_file(library.context(), {"file": claimed, "purpose": "assistants"})

    async def is_deleted() -> bool:
        census = library.census()
        return (census["contents"], census["jobs"]) == (1, 0)

    await until(is_deleted)
    answer = await files.download_file(library.context(), file["id"])
    assert b"".join([piece async for piece in answer.pieces]) == b"bytes"


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "a\0b.txt", "\"quoted\" 'name'.txt", "x" * 1000, "line\nbreak\r\n", "日本語 🦄"],
)
async def test_a_filename_is_data_and_comes_back_as_it_was(library: Library, name: str) -> None:
    file = await library.file(b"x", name)
    assert (await files.retrieve_file(library.context(), file["id"]))["filename"] == name
    answer, data = await library.download(file["id"])
    assert data == b"x"
    assert all(ord(char) in range(32, 127) for char in answer.headers["content-disposition"])


async def test_the_bytes_come_back_as_they_came(library: Library) -> None:
    file = await library.file(DATA)
    answer, data = await library.download(file["id"])
    assert (answer.status, answer.size, data) == (200, len(DATA), DATA)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=255990-", 255_990, 256_000),
        ("bytes=-10", 255_990, 256_000),
        ("bytes=-999999", 0, 256_000),
        ("bytes=100-9999999", 100, 256_000),
    ],
)
async def test_a_range_of_the_bytes_comes_alone(library: Library, header: str, start: int, end: int) -> None:
    file = await library.file(DATA)
    answer, data = await library.download(file["id"], range=header)
    assert (answer.status, answer.size) == (206, end - start)
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/256000"
    assert data == DATA[start:end]


@pytest.mark.parametrize("header", ["bytes=9-5", "items=0-1", "bytes=0-1,5-6", "bytes=", "bytes=a-b"])
async def test_what_is_no_single_range_of_bytes_is_ignored(library: Library, header: str) -> None:
    file = await library.file(DATA)
    answer, data = await library.download(file["id"], range=header)
    assert (answer.status, len(data)) == (200, len(DATA))


async def test_a_range_behind_the_end_is_refused_with_the_size(library: Library) -> None:
    file = await library.file(DATA)
    error = await refused(files.download_file(library.context(range="bytes=256000-"), file["id"]))
    assert (error.status, error.headers["content-range"]) == (416, "bytes */256000")


async def test_files_are_listed_by_purpose_order_and_cursor(library: Library) -> None:
    ids = [(await library.file(b"x", purpose=p))["id"] for p in ["assistants", "batch"] * 5]
    everything = await files.list_files(library.context(), **PAGE)
    assert [file["id"] for file in everything["data"]] == ids[::-1]
    first = await files.list_files(library.context(), purpose="batch", limit=2, order="asc")
    assert [file["id"] for file in first["data"]] == [ids[1], ids[3]]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[1], ids[3], True)
    rest = await files.list_files(library.context(), purpose="batch", limit=20, order="asc", after=ids[3])
    assert [file["id"] for file in rest["data"]] == [ids[5], ids[7], ids[9]]
    assert rest["has_more"] is False


async def test_a_file_of_another_project_is_not_there(library: Library) -> None:
    file = await library.file(b"secret")
    other = library.context("other")
    for call in (files.retrieve_file, files.download_file, files.delete_file):
        error = await refused(call(other, file["id"]))
        assert isinstance(error, NotFound)
        assert (error.message, error.param) == (f"No such File object: {file['id']}", "id")
    assert (await files.list_files(other, **PAGE))["data"] == []
    assert (await library.download(file["id"]))[1] == b"secret"


async def test_a_deleted_file_leaves_nothing_behind(library: Library) -> None:
    before = library.census()
    file = await library.file(DATA, expires_after={"anchor": "created_at", "seconds": 3600})
    assert library.census() != before
    answer = await files.delete_file(library.context(), file["id"])
    assert answer == {"id": file["id"], "object": "file", "deleted": True}
    assert library.census() == before
    assert isinstance(await refused(files.delete_file(library.context(), file["id"])), NotFound)


async def test_a_deletion_that_was_cut_short_is_finished_by_another_worker(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = library.census()
    file = await library.file(DATA)

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(library.store, "delete_content", killed)
        with pytest.raises(KeyboardInterrupt):
            await files.delete_file(library.context(), file["id"])
    assert library.census() != before
    await library.hasten("purge")

    async def cleared() -> bool:
        return library.census() == before

    await until(cleared)


async def test_a_file_expires_when_it_said_and_leaves_nothing_behind(library: Library) -> None:
    before = library.census()
    file = await library.file(DATA, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file["expires_at"] == file["created_at"] + 3600
    [job] = library.queued("expire")
    assert job["due"] == file["expires_at"]
    await library.hasten("expire")

    async def cleared() -> bool:
        return library.census() == before

    await until(cleared)
    assert isinstance(await refused(files.retrieve_file(library.context(), file["id"])), NotFound)


async def test_the_operator_can_keep_openais_rule_about_downloads(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    async with library_at(tmp_path, provider.url, download_assistants_files=False) as library:
        file = await library.file(b"x")
        error = await refused(files.download_file(library.context(), file["id"]))
        assert isinstance(error, BadRequest)
        assert error.message == "Not allowed to download files of purpose: assistants"
        batch = await library.file(b"x", purpose="batch")
        assert (await library.download(batch["id"]))[1] == b"x"
