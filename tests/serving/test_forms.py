"""Multipart bodies, read piece by piece into a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from astrolabe_server.handlers.context import Uploaded
from astrolabe_server.handlers.errors import BadRequest
from astrolabe_server.persistence import open_store
from astrolabe_server.persistence.store import Store
from astrolabe_server.serving.bodies import Form, MultipartReader, boundary_of, unescape

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    + b"line\r\n--not the boundary\r\n" * 40_000
    + b"\r\n--b--\r\n"
)
CONTENT = b"line\r\n--not the boundary\r\n" * 40_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(f"sqlite:///{tmp_path}/a.db")
    await store.migrate()
    await store.open()
    yield store
    await store.close()


async def read(store: Store, body: bytes, piece: int) -> Form:
    async def arriving() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    return await MultipartReader(store, "p", b"b", lambda name: name == "file").read(arriving())


def files_left(tmp_path: Path) -> list[Path]:
    return [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and ".db" not in path.suffix and "a.db" not in path.name
    ]


@pytest.mark.parametrize("piece", [7, 1000, 65_536, 10_000_000])
async def test_a_file_arrives_whole_however_it_is_cut(store: Store, piece: int) -> None:
    body, content = (
        (BODY, CONTENT) if piece > 7 else (BODY[:200] + b"short\r\n--b--\r\n", BODY[170:200] + b"short")
    )
    form = await read(store, body, piece)
    assert form.fields[0] == ("purpose", "assistants")
    name, file = form.fields[1]
    assert isinstance(file, Uploaded)
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
        await MultipartReader(store, "p", b"b", lambda _: False).read(breaking())
    assert files_left(tmp_path) == []


@pytest.mark.parametrize("name", ["../a", 'a"b', "a\\b", "x" * 1000, "é世", "a;b", ""])
def test_a_name_is_data(name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace('"', "%22")
    assert unescape(escaped.replace("\\\\", "\\")) == name


def test_a_content_type_without_boundary_is_refused() -> None:
    with pytest.raises(BadRequest):
        boundary_of("multipart/form-data")
