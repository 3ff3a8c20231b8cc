"""Multipart bodies, read piece by piece into a real store."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from handlers.context import UploadedFile
from handlers.errors import BadRequest, TooLarge
from persistence.store import Document, Operation, Store
from serving.bodies import Form, MultipartReader, boundary_of
from serving.sinks import StoreSink
from tests.fixtures.stores import store

__all__ = ["store"]

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    + b"line\r\n--not the boundary\r\n" * 40_000
    + b"\r\n--b--\r\n"
)
TEXT = 1_500_000
FILE = 10_000_000
CONTENT = b"line\r\n--not the boundary\r\n" * 40_000


async def read(store: Store, body: bytes, piece: int) -> Form:
    async def arriving() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    return await MultipartReader(
        partial(StoreSink, store, "p"), b"b", lambda name: name == "file", TEXT, FILE
    ).read(arriving())


def files_left(tmp_path: Path) -> list[Path]:
    return [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and ".db" not in path.suffix and "astrolabe.db" not in path.name
    ]


async def test_a_file_over_the_limit_is_refused_before_its_end(tmp_path: Path, store: Store) -> None:
    arrived = 0

    async def arriving() -> AsyncIterator[bytes]:
        nonlocal arrived
        yield BODY[:300]
        while arrived < 100:
            arrived += 1
            yield b"x" * 100_000

    with pytest.raises(TooLarge) as caught:
        await MultipartReader(partial(StoreSink, store, "p"), b"b", lambda _: False, TEXT, 1_000_000).read(
            arriving()
        )
    assert (caught.value.status, caught.value.param) == (413, "file")
    assert arrived == 10
    assert files_left(tmp_path) == []


@pytest.mark.parametrize("piece", [7, 1000, 65_536, 10_000_000])
async def test_a_file_arrives_whole_however_it_is_cut(store: Store, piece: int) -> None:
    body, content = (
        (BODY, CONTENT) if piece > 7 else (BODY[:200] + b"short\r\n--b--\r\n", BODY[170:200] + b"short")
    )
    form = await read(store, body, piece)
    assert form.fields[0] == ("purpose", "assistants")
    name, file = form.fields[1]
    assert isinstance(file, UploadedFile)
    assert (name, file.filename, file.content_type) == ("file", "a.txt", "text/plain")
    kept = b"".join([one async for one in store.read_content("p", file.content_id)])
    assert len(kept) == file.size
    assert kept.endswith(content[-5:])
    if piece > 7:
        assert kept == content


@pytest.mark.parametrize(
    "body", [BODY[:-8], BODY[:500], b"", b"--b\r\nnonsense", BODY.replace(b'name="file"; ', b"")]
)
async def test_a_body_that_breaks_off_or_is_none_leaves_nothing(
    store: Store, body: bytes, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest):
        await read(store, body, 5000)
    assert files_left(tmp_path) == []


async def test_a_source_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield BODY[: len(BODY) // 2]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await MultipartReader(partial(StoreSink, store, "p"), b"b", lambda _: False, TEXT, FILE).read(
            breaking()
        )
    assert files_left(tmp_path) == []


@pytest.mark.parametrize("name", ["../a", 'a"b', "a\\b", "x" * 1000, "é世", "a;b", "nul\0"])
async def test_a_name_comes_back_as_it_was(store: Store, name: str) -> None:
    request = httpx.Request("POST", "http://test", files={"file": (name, b"x")})
    body = request.read()

    async def arriving() -> AsyncIterator[bytes]:
        yield body

    boundary = boundary_of(request.headers["content-type"])
    form = await MultipartReader(
        partial(StoreSink, store, "p"), boundary, lambda _: False, text_limit=1000, file_limit=FILE
    ).read(arriving())
    assert [file.filename for file in form.files] == [name]


def test_a_content_type_without_boundary_is_refused() -> None:
    with pytest.raises(BadRequest):
        boundary_of("multipart/form-data")


def field(value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="k"\r\n\r\n' + value + b"\r\n"


async def test_the_text_of_all_fields_together_is_bounded(store: Store) -> None:
    few = field(b"x" * 700_000) * 2 + b"--b--\r\n"
    assert len((await read(store, few, 65_536)).fields) == 2
    with pytest.raises(TooLarge, match="1500000 bytes"):
        await read(store, field(b"x" * 700_000) * 2 + few, 65_536)


@pytest.mark.parametrize("headers", [b"X: y\r\n" * 1000, b"X: " + b"y" * 100_000 + b"\r\n"])
async def test_the_headers_of_a_part_are_bounded(store: Store, headers: bytes) -> None:
    with pytest.raises(BadRequest):
        await read(store, b"--b\r\n" + headers + field(b"v")[5:] + b"--b--\r\n", 65_536)


async def test_an_absurd_boundary_is_refused(store: Store) -> None:
    with pytest.raises(BadRequest):
        MultipartReader(partial(StoreSink, store, "p"), b"b" * 10_000, lambda _: False, TEXT, FILE)


class SlowStore:
    """A store that takes one piece and then no more, as on a disk that hangs."""

    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        await anext(pieces)
        await asyncio.Event().wait()
        return 0

    async def delete_content(self, project: str, id: str) -> None:
        pass

    async def write(self, *operations: Operation) -> list[Document]:
        return []


async def test_an_upload_that_is_cancelled_while_the_store_is_slow_leaves_no_task() -> None:
    async def arriving() -> AsyncIterator[bytes]:
        yield BODY[:200]
        while True:
            yield b"x" * 600_000

    reader = MultipartReader(partial(StoreSink, SlowStore(), "p"), b"b", lambda _: False, TEXT, FILE)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(arriving()), 0.3)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "Queue.put" in repr(task)]
