"""Workers of one machine use one sandbox for a container; one that is gone loses its sandboxes only."""

import asyncio
import contextlib
import signal
import socket
import stat
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from inference.code import relay
from inference.code.errors import ContainerNotFound
from inference.code.relay import WorkerLost, run_there
from persistence.collections import CONTAINERS
from persistence.store import Key, Replace, Store
from tests.contract.engines import ENGINES
from tests.fixtures.sandboxes import needs_sandbox
from tests.fixtures.stores import store_at
from tests.inference.code import other_worker
from tests.inference.code.sandboxes import Worker, worker_over

pytestmark = needs_sandbox
every_engine = pytest.mark.parametrize("url", ENGINES, indirect=True)

PNG = "from IPython.display import Image, display; from PIL import Image as I; display(I.new('RGB', (3, 3)))"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The database's URL: SQLite, unless a test is parametrized with the engines."""
    engine = getattr(request, "param", "sqlite")
    return str(request.getfixturevalue(f"{engine}_url"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with store_at(url) as store:
        yield store


@pytest.fixture
async def one(store: Store, project: str) -> AsyncIterator[Worker]:
    async with worker_over(store, project) as worker:
        yield worker


@pytest.fixture
async def two(store: Store, project: str) -> AsyncIterator[Worker]:
    async with worker_over(store, project) as worker:
        yield worker


@asynccontextmanager
async def worker_process(url: str, project: str, container: str, code: str) -> AsyncIterator[Process]:
    """A worker in a process of its own, which runs code and then waits."""
    command = sys.executable, "-m", other_worker.__name__, url, project, container, code
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


async def holder(worker: Worker, container: str) -> dict[str, str]:
    document = await worker.containers.records.get(worker.project, container)
    return dict(document.state["kernel"])


async def test_another_worker_runs_code_where_the_variables_are(one: Worker, two: Worker) -> None:
    container = await one.create()
    await one.printed(container, "x = 6")
    await two.upload(container, "in.txt", b"i")
    result, text = await two.run(
        container, f"print(x * 7, open('in.txt').read()); {PNG}\nopen('a', 'w').write('a')"
    )
    assert (result.status, result.is_fresh, text) == ("ok", False, "42 i\n<image>1\n")
    assert [file["path"] for file in result.files] == ["/mnt/data/a"]
    assert await one.read(result.files[0]) == b"a"
    assert await one.printed(container, "print(x)") == "6\n"
    assert two.kernels.running() == []


async def test_calls_of_two_workers_run_one_after_another(one: Worker, two: Worker) -> None:
    container = await one.create()
    await one.printed(container, "n = 0; import time")
    code = "before = n; time.sleep(0.05); n = before + 1; open(f'{n}.txt', 'w').write('x')"
    await asyncio.gather(*(worker.run(container, code) for worker in (one, two, one, two)))
    assert await two.printed(container, "print(n)") == "4\n"
    assert await two.paths(container) == {f"{n}.txt" for n in range(1, 5)}


async def test_of_two_workers_that_begin_at_once_one_has_the_sandbox(one: Worker, two: Worker) -> None:
    container = await one.create()
    code = "n = globals().get('n', 0) + 1; print(n)"
    results = await asyncio.gather(*(worker.run(container, code) for worker in (one, two)))
    assert sorted(text for _, text in results) == ["1\n", "2\n"]
    assert len(one.kernels.running()) + len(two.kernels.running()) == 1


@every_engine
async def test_the_sandbox_of_a_killed_worker_is_replaced_and_its_files_are_there(
    url: str, one: Worker, project: str
) -> None:
    container = await one.create()
    async with worker_process(url, project, container, "x = 1; n = open('a', 'w').write('a')") as process:
        assert await line(process) == "ok\n"
        assert await one.printed(container, "print(x, open('a').read())") == "1 a\n"
        process.send_signal(signal.SIGKILL)
        await process.wait()
    result, text = await one.run(container, "print(open('a').read())")
    assert (result.status, result.is_fresh, text) == ("ok", True, "a\n")
    assert not (await one.run(container, "1"))[0].is_fresh


async def test_a_worker_that_is_killed_during_a_call_is_said(url: str, one: Worker, project: str) -> None:
    container = await one.create()
    async with worker_process(url, project, container, "import time") as process:
        assert await line(process) == "ok\n"
        call = asyncio.create_task(one.run(container, "print('begun', flush=True); time.sleep(30)"))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        result, text = await call
        assert (result.status, text) == ("died", "begun\n")
        assert "server process" in result.notes[0]
        assert (await one.run(container, "1"))[0].is_fresh


async def test_a_worker_that_does_not_answer_loses_the_container(
    url: str, one: Worker, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "ACCEPT_SECONDS", 0.5)
    container = await one.create()
    async with worker_process(url, project, container, "x = 1") as process:
        assert await line(process) == "ok\n"
        process.send_signal(signal.SIGSTOP)
        assert (await one.run(container, "1"))[0].is_fresh
        assert (await holder(one, container))["token"] == one.containers.token


async def test_a_socket_is_private_and_asks_for_the_token(one: Worker, project: str) -> None:
    container = await one.create()
    await one.printed(container, "x = 1")
    known = await holder(one, container)
    folder = Path(known["socket"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(WorkerLost):
        await run_there({**known, "token": "guessed"}, Key(project, CONTAINERS, container), "1", print)
    await one.containers.close()
    assert not folder.exists()


async def test_a_new_worker_removes_the_folders_of_killed_ones_alone(
    one: Worker, store: Store, project: str
) -> None:
    container = await one.create()
    await one.printed(container, "x = 1")
    living = Path((await holder(one, container))["socket"]).parent
    killed = Path(tempfile.mkdtemp(prefix=relay.FOLDER))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(killed / "socket"))
        listener.listen()
    async with worker_over(store, project) as other:
        assert (living.exists(), killed.exists()) == (True, False)
        assert await other.printed(container, "print(x)") == "1\n"


async def test_a_worker_without_a_folder_for_its_socket_runs_code_itself(
    store: Store, project: str, two: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    async with worker_over(store, project) as one:
        container = await one.create()
        assert await one.printed(container, "x = 1; print(x)") == "1\n"
        result, _ = await two.run(container, "1")
        assert (result.status, result.is_fresh) == ("ok", True)


async def test_a_container_that_comes_back_to_a_worker_gets_a_new_sandbox(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")  # without sockets, as on machines of their own
    async with worker_over(store, project) as one, worker_over(store, project) as two:
        container = await one.create()
        await one.printed(container, "x = 'old'; _ = open('a', 'w').write('old')")
        result, _ = await two.run(container, "x = 'new'; _ = open('a', 'w').write('new')")
        assert result.is_fresh
        result, text = await one.run(container, "print('x' in globals(), open('a').read())")
        assert (result.is_fresh, text) == (True, "False new\n")
        assert await one.printed(container, "x = 1; print(x)") == "1\n"


async def test_a_call_that_another_worker_cancels_ends(one: Worker, two: Worker) -> None:
    container = await one.create()
    await one.printed(container, "import time")
    call = asyncio.create_task(two.run(container, "time.sleep(60)"))
    await asyncio.sleep(0.5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await one.printed(container, "print('free')") == "free\n"


async def test_deletion_by_another_worker_ends_the_sandbox(one: Worker, two: Worker) -> None:
    container = await one.create()
    await one.printed(container, "x = 1")
    await two.containers.delete(two.project, container)
    assert one.kernels.running() == []
    with pytest.raises(ContainerNotFound):
        await two.run(container, "1")


async def test_errors_of_the_other_worker_are_raised(one: Worker, two: Worker) -> None:
    container = await one.create()
    await one.printed(container, "x = 1")
    known = await holder(one, container)
    with pytest.raises(ContainerNotFound):
        await run_there(known, Key(one.project, CONTAINERS, "cntr_none"), "1", print)
    assert await two.printed(container, "print(x)") == "1\n"


async def test_a_worker_ends_sandboxes_of_containers_that_have_expired(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.code.containers.TEND_SECONDS", 0.05)
    async with worker_over(store, project) as worker:
        container = await worker.create()
        await worker.printed(container, "x = 1")
        document = await worker.containers.records.get(project, container)
        late = {**document.value, "last_active_at": document.value["last_active_at"] - 1201}
        await store.write(Replace(document, value=late))
        async with asyncio.timeout(10):
            while worker.kernels.running():
                await asyncio.sleep(0.02)
