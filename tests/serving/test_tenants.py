"""The stores of tenants on SQLite, a database for each token; Astra's part is in test_tenants_astra.py."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.context import Services
from handlers.errors import ApiError, BadRequest, Unauthorized, Unavailable
from inference.errors import DocumentError
from inference.leases import Lease
from inference.transfer.records import complete, file_document, vector_store_documents
from persistence.engines import open_store
from persistence.errors import CredentialsRefused, DatabaseAmbiguous, StoreRefused, StoreUnavailable
from persistence.store import Document, Enqueue, Finish, Insert, Job, Key
from serving.lifespan import Service
from serving.services import OF_A_STORE, lives, services_over
from serving.settings import Settings
from serving.tenants import Tenants, tenant_name
from tests.memory import resident

KEY = Key("default", "threads", "thread_1")


class Stores:
    """Makes tenants' stores and counts what is open."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.read(ASTROLABE_AUTH="astra", OPENAI_API_KEY="sk-x", WEB_CONCURRENCY=1)
        self.shared = services_over(open_store(f"sqlite:///{folder}/shared.db"), self.settings)
        self.folder = folder
        self.opened: list[str] = []
        self.open = self.most = 0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.done: list[str] = []

    async def make(self, token: str, database: str) -> tuple[Services, Sequence[Service]]:
        name = hashlib.sha256(f"{token}{database}".encode()).hexdigest()[:16]
        store = open_store(f"sqlite:///{self.folder}/{name}.db")
        services = services_over(store, self.settings, self.shared, tenant_name(token, database))

        async def work(lease: Lease) -> None:
            self.done.append(lease.job.id)
            await services.store.write(Finish(lease.job))

        services.jobs.register("work", work, concurrency=1)
        first, *rest = [life for life in lives(services, grace=0) if life.name in OF_A_STORE]

        async def opened() -> None:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            await first.open()
            self.opened.append(token)
            self.open += 1
            self.most = max(self.most, self.open)

        async def closed() -> None:
            await first.close()
            self.open -= 1

        return services, [replace(first, open=opened, close=closed), *rest]


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path)


@pytest.fixture
async def make(stores: Stores) -> AsyncIterator[Callable[..., Tenants]]:
    made: list[Tenants] = []

    def tenants(**options: float) -> Tenants:
        made.append(Tenants(stores.make, **options))  # type: ignore[arg-type]
        return made[-1]

    yield tenants
    for each in made:
        await each.close()
    assert stores.open == 0


async def test_concurrent_first_requests_open_a_store_once(
    stores: Stores, make: Callable[..., Tenants]
) -> None:
    tenants = make()
    held = await asyncio.gather(*(tenants.hold("t", "d") for _ in range(50)))
    assert (stores.opened, tenants.number) == (["t"], 1)
    assert len({id(services) for _, services in held}) == 1


async def test_token_and_database_choose_the_store(stores: Stores, make: Callable[..., Tenants]) -> None:
    tenants = make()
    _, ours = await tenants.hold("t", "d")
    await ours.store.write(Insert(KEY, {}))
    for token, database in (("u", "d"), ("t", "e"), ("t", "")):
        _, theirs = await tenants.hold(token, database)
        assert await theirs.store.get(KEY) is None
    _, again = await tenants.hold("t", "d")
    assert await again.store.get(KEY) is not None


async def test_200_tenants_in_turn_keep_64_stores_open_and_memory_flat(
    stores: Stores, make: Callable[..., Tenants]
) -> None:
    tenants = make()

    async def visit(numbers: range) -> None:
        for number in numbers:
            tenant, services = await tenants.hold(f"token-{number}", "")
            await services.store.write(Insert(KEY, {"n": number}))
            tenant.release()

    await visit(range(100))
    before = resident()
    await visit(range(100, 200))
    assert (tenants.number, stores.most) == (64, 64)
    assert resident() - before < 24 * 1024 * 1024
    tenant, services = await tenants.hold("token-0", "")  # it was closed meanwhile
    document = await services.store.get(KEY)
    assert document is not None
    assert document.value == {"n": 0}
    tenant.release()


async def test_a_store_in_use_is_not_closed_for_another(stores: Stores, make: Callable[..., Tenants]) -> None:
    tenants = make(most=2)
    first, services = await tenants.hold("a", "")
    second, _ = await tenants.hold("b", "")
    with pytest.raises(Unavailable) as caught:
        await tenants.hold("c", "")
    assert (caught.value.code, caught.value.headers) == ("too_many_databases", {"Retry-After": "5"})
    second.release()
    third, _ = await tenants.hold("c", "")
    await services.store.write(Insert(KEY, {}))
    assert stores.opened == ["a", "b", "c"]
    assert stores.most == 2
    first.release()
    third.release()


async def test_a_store_with_a_running_job_stays_open_until_it_ends(
    stores: Stores, make: Callable[..., Tenants]
) -> None:
    tenants = make(most=1)
    tenant, services = await tenants.hold("a", "")
    end = asyncio.Event()
    services.jobs.register("test", lambda _: end.wait(), concurrency=1)  # type: ignore[arg-type,return-value]
    services.jobs.adopt(Job("default", "test", "job", 0, owner=services.jobs.owner))
    tenant.release()
    with pytest.raises(Unavailable):
        await tenants.hold("b", "")
    assert tenants.running_jobs == 1
    end.set()
    while tenants.running_jobs:
        await asyncio.sleep(0)
    (await tenants.hold("b", ""))[0].release()


async def test_files_of_tenants_are_parsed_in_turn_though_their_projects_are_namesakes(
    stores: Stores, make: Callable[..., Tenants], monkeypatch: pytest.MonkeyPatch
) -> None:
    sharers: list[str] = []

    async def parse(sharer: str, *_: object, **__: object) -> None:
        sharers.append(sharer)
        raise DocumentError("seen", code="invalid_file")

    monkeypatch.setattr(stores.shared.retrieval.sandbox, "parse", parse)
    tenants = make()
    for token in ("a", "b"):
        tenant, services = await tenants.hold(token, "")
        file = complete("files", {"id": "file-1", "created_at": 1, "filename": "a.txt"})
        vector_store = Document(Key("default", "vector_stores", "vs_1"), {"id": "vs_1", "expires_at": None})
        record = {"id": "file-1", "created_at": 1, "vector_store_id": "vs_1"}
        attached = vector_store_documents("default", complete("vector_store_files", record), "a.txt")
        await services.store.load([file_document("default", file, "content", 1), vector_store, *attached])
        with pytest.raises(DocumentError, match="seen"):
            await services.retrieval.file_text("default", "vs_1", "file-1")
        tenant.release()
    assert sharers == [tenant_name("a", ""), tenant_name("b", "")]


async def test_a_job_that_a_worker_left_behind_is_taken_over_when_its_store_is_opened_next(
    stores: Stores, make: Callable[..., Tenants]
) -> None:
    lost, other = make(), make()
    tenant, services = await lost.hold("a", "")
    await services.jobs.stop(0)  # as a worker that died: nothing of the store's is taken here
    await services.store.write(Enqueue(Job("default", "work", "left", 0)))
    assert stores.done == []
    await other.hold("a", "")
    async with asyncio.timeout(10):
        while stores.done != ["left"]:
            await asyncio.sleep(0.01)
    tenant.release()


async def test_an_idle_store_is_closed(stores: Stores, make: Callable[..., Tenants]) -> None:
    tenants = make(idle=0.05)
    await tenants.open()
    used, _ = await tenants.hold("used", "")
    (await tenants.hold("idle", ""))[0].release()
    async with asyncio.timeout(10):
        while tenants.number > 1 or stores.open > 1:
            await asyncio.sleep(0.01)
    assert (await tenants.hold("used", ""))[0] is used
    assert stores.opened == ["used", "idle"]


@pytest.mark.parametrize(
    ("error", "kind", "status", "retry"),
    [
        (CredentialsRefused("no"), Unauthorized, 401, None),
        (DatabaseAmbiguous("two"), BadRequest, 400, None),
        (StoreRefused("it is HIBERNATED"), Unavailable, 503, "10"),
        (StoreUnavailable("away"), Unavailable, 503, "10"),
    ],
)
async def test_a_failure_is_told_once_and_not_tried_again_at_once(
    stores: Stores,
    make: Callable[..., Tenants],
    error: Exception,
    kind: type[ApiError],
    status: int,
    retry: str | None,
) -> None:
    tenants = make()
    stores.failure = error
    for _ in range(2):
        with pytest.raises(kind) as caught:
            await tenants.hold("a", "")
        assert (caught.value.status, caught.value.headers.get("Retry-After")) == (status, retry)
        assert tenants.number == 0
        stores.failure = None  # the second answer is the first one's
    (await tenants.hold("b", ""))[0].release()


async def test_a_client_that_disconnects_does_not_end_what_another_waits_for(
    stores: Stores, make: Callable[..., Tenants]
) -> None:
    tenants = make()
    stores.gate.clear()
    first, second = (asyncio.create_task(tenants.hold("a", "")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    stores.gate.set()
    tenant, _ = await second
    assert tenant.uses == 1
