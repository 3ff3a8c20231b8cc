import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from persistence.store import (
    Append,
    Cancel,
    Chunk,
    Comparison,
    Content,
    Delete,
    Document,
    Enqueue,
    FileChunks,
    Insert,
    Job,
    Key,
    Loadable,
    Record,
    Replace,
    Store,
)
from tests.contract.samples import List
from tests.fixtures.cassandra import cassandra_keyspace

DOCUMENTS, CHUNKS = 250, 120
"""More of each than engines read at once."""


@pytest.fixture(scope="module")
def cassandra_url() -> Iterator[str]:
    """The URL of a keyspace without what other tests have left: all of it is exported."""
    with cassandra_keyspace() as url:
        yield url


@pytest.fixture
async def full(messages: List, project: str, kind: str) -> Store:
    """A store with something of everything."""
    store = messages.store
    await messages.fill(DOCUMENTS)
    labelled = await messages.add("msg_label", labels=frozenset({"a", "b"}), state={"kept": True})
    await store.write(Replace(labelled, value={"changed": True}))
    await store.write(Insert(Key(project, "threads", "thread_1"), {"id": "thread_1"}))
    await store.write(Enqueue(Job(project, kind, "run_1", due=time.time() - 1, payload={"n": 1})))
    await store.write(Append(project, "run_1", 0, [b"a", b"b"]), Append(project, "run_1", 2, [b"c"]))
    await store.write_content(project, "file-1", pieces(b"content" * 100_000))
    for file in ("file-1", "file-2"):
        given = [Chunk(n, f"apple {n} {file}", (1.0, n / 100)) for n in range(CHUNKS)]
        await store.put_chunks(project, "vs_1", file, given, {"name": file})
    await store.put_chunks(project, "vs_2", "file-1", [Chunk(0, "no vector")], {})
    return store


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def read(store: Store, project: str, id: str) -> bytes:
    return b"".join([piece async for piece in store.read_content(project, id)])


def project_of(record: Record) -> str:
    return record.key.project if isinstance(record, Document) else record.project


async def exported(store: Store, project: str, after: str = "") -> list[tuple[str, Record]]:
    return [(mark, record) async for mark, record in store.export(after) if project_of(record) == project]


async def next_mark(store: Store, project: str, after: str) -> str:
    marks = (mark async for mark, record in store.export(after) if project_of(record) == project)
    return await anext(marks)


async def empty(messages: List, kind: str) -> None:
    """Empty the project of all but its log, as only a test would."""
    for collection, parent in (("messages", "thread_1"), ("threads", "")):
        list = List(messages.store, messages.project, collection, parent)
        while documents := (await list.page(limit=50)).documents:
            await messages.store.write(*map(Delete, documents))
    await messages.store.write(Cancel(messages.project, kind, "run_1"))
    await messages.store.delete_content(messages.project, "file-1")
    for vector_store in ("vs_1", "vs_2"):
        await messages.store.delete_chunks(messages.project, vector_store)


async def test_an_export_has_everything_once(full: Store, project: str, kind: str) -> None:
    records = [record for _, record in await exported(full, project)]
    documents = [record for record in records if isinstance(record, Document)]
    assert len(documents) == DOCUMENTS + 2
    assert len({document.key for document in documents}) == DOCUMENTS + 2
    assert [record for record in records if isinstance(record, Content)] == [
        Content(project, "file-1", 700_000)
    ]
    events: dict[int, bytes] = {}
    for record in records:
        if isinstance(record, Append):
            events |= dict(enumerate(record.events, record.sequence))
    assert events == {0: b"a", 1: b"b", 2: b"c"}
    [job] = [record for record in records if isinstance(record, Job)]
    assert (job.kind, job.id, job.owner, job.payload) == (kind, "run_1", "", {"n": 1})
    chunks = [
        (r.vector_store, r.file, c.index) for r in records if isinstance(r, FileChunks) for c in r.chunks
    ]
    everything = [("vs_1", file, n) for file in ("file-1", "file-2") for n in range(CHUNKS)]
    assert sorted(chunks) == sorted([*everything, ("vs_2", "file-1", 0)])


async def test_documents_of_a_list_are_exported_in_order_and_as_they_are(full: Store, messages: List) -> None:
    records = [record for _, record in await exported(full, messages.project)]
    documents = [r for r in records if isinstance(r, Document) and r.parent == "thread_1"]
    assert [document.id for document in documents] == await messages.walk(order="asc", limit=100)
    assert documents[-1] == await messages.get("msg_label")
    assert documents[-1].version == 2


async def test_an_export_goes_on_behind_any_mark(full: Store, project: str) -> None:
    """The next record comes behind each mark; what comes then depends on that record's mark alone."""
    records = await exported(full, project)
    for at in {0, 1, 199, 200, *range(DOCUMENTS, len(records) - 1)}:
        assert await next_mark(full, project, records[at][0]) == records[at + 1][0]
    rest = await exported(full, project, records[200][0])
    assert [mark for mark, _ in rest] == [mark for mark, _ in records[201:]]
    assert await exported(full, project, records[-1][0]) == []


async def test_what_was_exported_and_loaded_is_the_same(
    full: Store, messages: List, project: str, kind: str
) -> None:
    records = await exported(full, project)
    pages = [
        await messages.page(limit=100),
        await messages.page(label="a"),
        await messages.page(after="msg_200"),
    ]
    text = await full.search_text(project, "vs_1", "apple 17", 20)
    filter = Comparison("eq", "name", "file-2")
    near = await full.search_vectors(project, "vs_1", (1.0, 0.3), 20, filter)
    await empty(messages, kind)
    assert all(isinstance(record, Append) for _, record in await exported(full, project))

    loadable: list[Loadable] = [
        replace(record, id="run_2") if isinstance(record, Append) else record
        for _, record in records
        if not isinstance(record, Content)
    ]
    for first in range(0, len(loadable), 100):
        await full.load(loadable[first : first + 100])
    await full.load(loadable[:100])
    await full.write_content(project, "file-1", pieces(b"content" * 100_000))

    assert [
        await messages.page(limit=100),
        await messages.page(label="a"),
        await messages.page(after="msg_200"),
    ] == pages
    assert await full.read_log(project, "run_2") == [(0, b"a"), (1, b"b"), (2, b"c")]
    found = await full.search_text(project, "vs_1", "apple 17", 20)
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in text])
    again = await full.search_vectors(project, "vs_1", (1.0, 0.3), 20, filter)
    assert [(hit.file_id, hit.index) for hit in again] == [(hit.file_id, hit.index) for hit in near]
    [job] = await full.take_jobs(kind, "worker", 60, 10)
    assert (job.id, job.payload) == ("run_1", {"n": 1})
    assert await read(full, project, "file-1") == b"content" * 100_000


async def test_loading_a_document_again_replaces_it(messages: List) -> None:
    document = await messages.add("msg_1", labels=frozenset({"a"}))
    await messages.add("msg_2")
    await messages.store.write(Replace(document, value={"later": True}, labels=frozenset({"b"})))
    await messages.store.load([document])
    assert await messages.get("msg_1") == document
    assert await messages.ids(order="asc") == ["msg_1", "msg_2"]
    assert await messages.ids(label="a") == ["msg_1"]
    assert await messages.ids(label="b") == []


async def test_a_loaded_document_whose_position_is_taken_gets_the_next(messages: List) -> None:
    document = await messages.add("msg_1")
    key = messages.key("msg_2")
    await messages.store.load([Document(key, {"id": "msg_2"}, parent="thread_1", position=document.position)])
    assert await messages.ids(order="asc") == ["msg_1", "msg_2"]
