import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import pytest

from persistence.errors import ContentNotFound
from persistence.store import Store

MEGABYTE = 1024 * 1024
BYTES = random.Random(3).randbytes(5 * MEGABYTE + 17)


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: Store, project: str, id: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.read_content(project, id, start, end)])


@pytest.mark.parametrize("size", [0, 1, 512 * 1024, 512 * 1024 + 1, len(BYTES)])
async def test_content_comes_back_as_it_was_written(store: Store, project: str, size: int) -> None:
    assert await store.write_content(project, "file-1", pieces(BYTES[:size])) == size
    read_back = await read(store, project, "file-1")
    assert hashlib.sha256(read_back).digest() == hashlib.sha256(BYTES[:size]).digest()


@pytest.mark.parametrize("size", [1, 7_777, 3 * MEGABYTE])
async def test_the_size_of_the_pieces_does_not_matter(store: Store, project: str, size: int) -> None:
    data = BYTES[: 4 * MEGABYTE] if size > 1 else BYTES[:3000]
    await store.write_content(project, "file-1", pieces(data, size))
    assert await read(store, project, "file-1") == data


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (0, None),
        (1, 10),
        (524_287, 524_289),
        (524_288, 1_048_576),
        (1_000_000, 3_000_001),
        (len(BYTES) - 1, None),
        (len(BYTES), None),
        (len(BYTES) - 5, len(BYTES) + 100),
        (5, 5),
    ],
)
async def test_a_range_is_just_those_bytes(store: Store, project: str, start: int, end: int | None) -> None:
    await store.write_content(project, "file-1", pieces(BYTES))
    assert await read(store, project, "file-1", start, end) == BYTES[start:end]


async def test_content_comes_in_pieces_of_bounded_size(store: Store, project: str) -> None:
    await store.write_content(project, "file-1", pieces(BYTES, 4 * MEGABYTE))
    assert all([len(piece) <= MEGABYTE async for piece in store.read_content(project, "file-1")])


async def test_content_that_nobody_wrote_is_not_found(store: Store, project: str) -> None:
    with pytest.raises(ContentNotFound):
        await read(store, project, "file-1")


async def test_content_is_not_visible_before_its_end(store: Store, project: str) -> None:
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield BYTES[:MEGABYTE]
        halfway.set()
        await go_on.wait()
        yield BYTES[MEGABYTE : 2 * MEGABYTE]

    writing = asyncio.create_task(store.write_content(project, "file-1", slow()))
    await halfway.wait()
    with pytest.raises(ContentNotFound):
        await read(store, project, "file-1")
    go_on.set()
    assert await writing == 2 * MEGABYTE
    assert await read(store, project, "file-1") == BYTES[: 2 * MEGABYTE]


async def test_content_whose_source_fails_never_was(store: Store, project: str) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield BYTES[: 3 * MEGABYTE]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.write_content(project, "file-1", broken())
    with pytest.raises(ContentNotFound):
        await read(store, project, "file-1")


async def test_content_whose_writer_was_cancelled_never_was(store: Store, project: str) -> None:
    halfway = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield BYTES[: 3 * MEGABYTE]
        halfway.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(store.write_content(project, "file-1", endless()))
    await halfway.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    with pytest.raises(ContentNotFound):
        await read(store, project, "file-1")


async def test_deleted_content_is_not_found_and_deleting_it_again_is_no_error(
    store: Store, project: str
) -> None:
    await store.write_content(project, "file-1", pieces(BYTES[:1000]))
    await store.delete_content(project, "file-1")
    with pytest.raises(ContentNotFound):
        await read(store, project, "file-1")
    await store.delete_content(project, "file-1")


async def test_rewritten_content_is_entirely_the_new_one(store: Store, project: str) -> None:
    await store.write_content(project, "file-1", pieces(BYTES))
    await store.write_content(project, "file-1", pieces(b"short"))
    assert await read(store, project, "file-1") == b"short"


@pytest.mark.parametrize(
    "id", ["../../../tmp/x", "/etc/passwd", "..", "a/b", "nul\u0000byte", "x" * 300, "é"]
)
async def test_an_id_of_content_is_data(store: Store, project: str, id: str) -> None:
    await store.write_content(project, id, pieces(b"content"))
    assert await read(store, project, id) == b"content"


async def test_content_of_another_project_is_not_found(store: Store, project: str) -> None:
    await store.write_content(project, "file-1", pieces(b"mine"))
    with pytest.raises(ContentNotFound):
        await read(store, f"{project}x", "file-1")
    await store.delete_content(f"{project}x", "file-1")
    assert await read(store, project, "file-1") == b"mine"


async def test_many_contents_are_written_and_read_at_once(store: Store, project: str) -> None:
    data = [BYTES[number * 1000 : number * 100_000 + 200_000] for number in range(12)]
    await asyncio.gather(
        *(store.write_content(project, f"file-{number}", pieces(part)) for number, part in enumerate(data))
    )
    assert await asyncio.gather(*(read(store, project, f"file-{number}") for number in range(12))) == data
