"""Code runs in containers, whose files are in the store."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from inference.code.container_files import MAX_FILES
from inference.code.driver import SandboxUnavailable
from inference.code.errors import ContainerNotFound
from inference.code.kernels import Kernels
from inference.code.sandboxes import Sandboxes, sandboxes_of_machine
from persistence.store import Store
from tests.contract.engines import ENGINES
from tests.fixtures.sandboxes import needs_sandbox
from tests.fixtures.stores import store
from tests.inference.code.sandboxes import Worker, worker_over

__all__ = ["store"]

pytestmark = needs_sandbox
every_engine = pytest.mark.parametrize("store", ENGINES, indirect=True)


@pytest.fixture
async def worker(store: Store, project: str) -> AsyncIterator[Worker]:
    async with worker_over(store, project) as worker:
        yield worker


@pytest.fixture
async def container(worker: Worker) -> str:
    return await worker.create()


@every_engine
async def test_variables_and_files_stay_between_sessions(worker: Worker, container: str) -> None:
    result, _ = await worker.run(container, "x = 6; open('a.txt', 'w').write('six')")
    [file] = result.files
    assert (file["path"], file["source"], file["bytes"]) == ("/mnt/data/a.txt", "assistant", 3)
    assert (await worker.read(file), result.is_fresh) == (b"six", False)
    result, text = await worker.run(container, "print(x * 7, open('a.txt').read())")
    assert (text, result.files, result.is_fresh) == ("42 six\n", [], False)


@every_engine
async def test_a_file_that_code_changes_keeps_its_id(worker: Worker, container: str) -> None:
    uploaded = await worker.upload(container, "a/b.txt", b"old")
    result, _ = await worker.run(container, "open('a/b.txt', 'a').write(' and new')")
    [changed] = result.files
    assert (changed["id"], changed["source"]) == (uploaded["id"], "assistant")
    assert await worker.read(changed) == b"old and new"


@every_engine
async def test_files_that_are_added_or_deleted_between_calls_change_in_the_sandbox(
    worker: Worker, container: str
) -> None:
    await worker.run(container, "import os; open('mine.txt', 'w').write('m')")
    added = await worker.upload(container, "theirs.txt", b"t" * 600_000)
    listing = "print(sorted(os.listdir()), os.path.getsize('theirs.txt'))"
    assert await worker.printed(container, listing) == "['mine.txt', 'theirs.txt'] 600000\n"
    await worker.containers.delete_file(worker.project, container, added["id"])
    assert await worker.printed(container, "print(os.listdir())") == "['mine.txt']\n"


async def test_a_file_that_code_deletes_is_deleted(worker: Worker, container: str) -> None:
    await worker.upload(container, "a.txt", b"a")
    await worker.upload(container, "b.txt", b"b")
    await worker.printed(container, "import os; os.remove('a.txt'); os.rename('b.txt', 'c.txt')")
    assert await worker.paths(container) == {"c.txt"}


@every_engine
async def test_calls_in_one_container_run_one_after_another(worker: Worker, container: str) -> None:
    await worker.printed(container, "n = 0; import time")
    code = "before = n; time.sleep(0.05); n = before + 1; open(f'{n}.txt', 'w').write('x')"
    await asyncio.gather(*(worker.printed(container, code) for _ in range(5)))
    assert await worker.printed(container, "print(n)") == "5\n"
    assert await worker.paths(container) == {f"{n}.txt" for n in range(1, 6)}


async def test_the_sandbox_that_is_idle_for_longest_makes_room(store: Store, project: str) -> None:
    async with worker_over(store, project, most=2) as worker:
        first, second, third = [await worker.create() for _ in range(3)]
        for container in (first, second, first, third):
            await worker.printed(container, "x = 1; open('kept.txt', 'w').write('k')")
        assert await worker.printed(first, "print(x)") == "1\n"
        result, text = await worker.run(second, "print(open('kept.txt').read()); x")
        assert (result.status, result.is_fresh) == ("error", True)
        assert text.startswith("k\n")
        assert "NameError" in text


async def test_a_worker_has_the_sandboxes_that_others_leave_free_and_gives_them_back(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker_over(store, project, most=3, share=1) as worker:
        others = 0
        monkeypatch.setattr(
            "inference.code.kernels.sandboxes_of_machine", lambda: len(worker.kernels.running()) + others
        )
        first, second, third = [await worker.create() for _ in range(3)]
        await worker.printed(first, "x = 1")
        await worker.printed(second, "x = 2")
        assert await worker.printed(first, "print(x)") == "1\n"
        others = 1
        await worker.kernels.give_back()
        assert await worker.printed(second, "print(x)") == "2\n"
        others = 2
        await worker.kernels.give_back()
        assert await worker.printed(second, "print(x)") == "2\n"
        assert (await worker.run(third, "1"))[0].status == "ok"
        assert len(worker.kernels.running()) == 1


async def test_the_sandboxes_of_a_machine_are_counted(store: Store, project: str) -> None:
    async with worker_over(store, project) as worker:
        await worker.printed(await worker.create(), "x = 1")
        assert sandboxes_of_machine() >= 1


async def test_a_worker_whose_sandboxes_are_all_busy_says_so(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.code.kernels.SLOT_SECONDS", 0.1)
    async with worker_over(store, project, most=1) as worker:
        busy, other = await worker.create(), await worker.create()
        await worker.printed(busy, "import time")
        running = asyncio.create_task(worker.printed(busy, "time.sleep(1)"))
        await asyncio.sleep(0)
        with pytest.raises(SandboxUnavailable, match="busy"):
            await worker.run(other, "1")
        await running
        assert await worker.printed(other, "1") == "1\n"


async def test_a_project_leaves_sandboxes_to_others(store: Store, project: str) -> None:
    async with worker_over(store, project, most=2) as worker:
        mine, my_other = await worker.create(), await worker.create()
        await worker.printed(mine, "import time")
        await worker.printed(my_other, "x = 1")
        running = asyncio.create_task(worker.printed(mine, "time.sleep(3)"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(worker.run(my_other, "x"))
        theirs = (await worker.containers.create("another", "c"))["id"]
        used = await worker.containers.records.use("another", theirs)
        assert (await worker.containers.run(used, "1", lambda _: None)).status == "ok"
        assert not waiting.done()
        await running
        result, _ = await waiting
        assert result.is_fresh  # the other project's took the place of its idle sandbox


async def test_what_is_not_kept_is_said(worker: Worker, container: str) -> None:
    code = f"""
import os
open(os.fsencode('bad') + b'\\xff', 'w').write('x')
open('new\\nline', 'w').write('x')
os.symlink('/etc/passwd', 'link')
for n in range({MAX_FILES}): open(f'{{n}}.txt', 'w').write('x')
open('z.txt', 'w').write('x')
"""
    result, text = await worker.run(container, code)
    assert result.status == "ok", text
    assert len(result.files) == MAX_FILES
    assert len(result.notes) == 3
    assert await worker.printed(container, "print(len(os.listdir()))") == f"{MAX_FILES + 4}\n"
    again, _ = await worker.run(container, "os.remove('0.txt')")
    assert (again.files, again.notes) == ([], [])


@every_engine
async def test_a_sandbox_that_is_lost_is_replaced_and_keeps_its_files(worker: Worker, container: str) -> None:
    await worker.printed(container, "x = 1; open('a.txt', 'w').write('a')")
    await worker.kernels.close_all(worker.containers.token)
    result, text = await worker.run(container, "print(open('a.txt').read())")
    assert (result.is_fresh, text) == (True, "a\n")
    again, _ = await worker.run(container, "1")
    assert not again.is_fresh


async def test_a_cancelled_call_is_interrupted_and_leaves_variables_and_files(
    worker: Worker, container: str
) -> None:
    await worker.printed(container, "import time; x = 1")
    call = asyncio.create_task(worker.run(container, "_ = open('a.txt', 'w').write('a'); time.sleep(30)"))
    await asyncio.sleep(0.5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    result, text = await worker.run(container, "print(x, open('a.txt').read())")
    assert (result.is_fresh, text) == (False, "1 a\n")
    assert await worker.paths(container) == {"a.txt"}


async def test_a_call_that_is_cancelled_while_files_are_put_in_leaves_a_usable_container(
    worker: Worker, container: str
) -> None:
    await worker.upload(container, "large", b"x" * 20_000_000)
    call = asyncio.create_task(worker.run(container, "1"))
    await started(worker)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    code = "import os; print(os.path.getsize('large'))"
    assert await worker.printed(container, code) == "20000000\n"


async def started(worker: Worker) -> None:
    """Wait until the worker has a sandbox."""
    async with asyncio.timeout(60):
        while not any(each.is_alive for each in worker.kernels.running()):
            await asyncio.sleep(0.001)


async def test_a_deleted_container_has_no_sandbox(worker: Worker, container: str) -> None:
    await worker.printed(container, "x = 1")
    [kernel] = [each.kernel for each in worker.kernels.running()]
    await worker.containers.delete(worker.project, container)
    assert kernel is not None
    assert not kernel.is_alive
    with pytest.raises(ContainerNotFound):
        await worker.run(container, "1")


async def test_another_worker_gets_a_fresh_sandbox_with_the_files(
    store: Store, project: str, worker: Worker, container: str
) -> None:
    await worker.printed(container, "x = 1; open('a.txt', 'w').write('a')")
    await worker.containers.close()
    async with worker_over(store, project) as other:
        result, text = await other.run(container, "print(open('a.txt').read())")
        assert (result.is_fresh, text) == (True, "a\n")


async def test_without_a_sandbox_files_are_kept_and_code_is_refused(worker: Worker, container: str) -> None:
    worker.containers.kernels = worker.containers._runner._kernels = Kernels(Sandboxes(None), 1)
    await worker.upload(container, "a.txt", b"a")
    with pytest.raises(SandboxUnavailable, match="ASTROLABE_SANDBOX is none"):
        await worker.run(container, "1")
