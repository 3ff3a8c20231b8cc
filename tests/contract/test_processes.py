import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter

from persistence import open_store
from persistence.store import Enqueue, Insert, Job, Key, Store
from tests.contract import worker
from tests.contract.samples import List


async def start(role: str, url: str, project: str, kind: str, name: str, number: int) -> Process:
    arguments = (role, url, project, kind, name, str(number))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", worker.__name__, *arguments, stdout=PIPE
    )


async def lines(process: Process) -> list[str]:
    """What a process says until it ends, well."""
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().splitlines()


async def test_no_acknowledged_write_is_lost_when_a_process_is_killed(
    messages: List, url: str, kind: str
) -> None:
    process = await start("write", url, messages.project, kind, "msg", 1_000_000)
    assert process.stdout is not None
    acknowledged = [(await process.stdout.readline()).decode().strip() for _ in range(300)]
    process.kill()
    acknowledged += (await process.stdout.read()).decode().splitlines()
    await process.wait()
    kept = await messages.walk(order="asc", limit=100)
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))
    jobs = []
    while taken := await messages.store.take_jobs(kind, "survivor", 600, 100):
        jobs += [job.id for job in taken]
    assert set(acknowledged) <= set(jobs) <= set(kept)
    assert len(jobs) == len(set(jobs))


async def test_a_store_is_used_at_once_after_a_crash(messages: List, url: str, kind: str) -> None:
    process = await start("write", url, messages.project, kind, "msg", 1_000_000)
    assert process.stdout is not None
    await process.stdout.readline()
    process.kill()
    await process.communicate()
    reopened = open_store(url)
    await reopened.open()
    try:
        document = await List(reopened, messages.project, "messages", "thread_1").add("after")
        assert (await messages.ids(limit=1)) == [document.id]
    finally:
        await reopened.close()


async def test_processes_that_write_at_once_lose_nothing_and_see_one_order(
    messages: List, url: str, kind: str
) -> None:
    processes = [await start("write", url, messages.project, kind, f"p{number}", 100) for number in range(3)]
    acknowledged = [line for process in processes for line in await lines(process)]
    assert len(acknowledged) == 300
    kept = await messages.walk(order="asc", limit=100)
    assert sorted(kept) == sorted(acknowledged)
    assert await messages.walk(limit=37) == kept[::-1]


async def test_processes_that_count_at_once_count_right(
    store: Store, url: str, project: str, kind: str
) -> None:
    await store.write(Insert(Key(project, "counters", "counter"), {"count": 0}))
    processes = [await start("count", url, project, kind, f"p{number}", 50) for number in range(3)]
    for process in processes:
        await lines(process)
    document = await store.get(Key(project, "counters", "counter"))
    assert document is not None
    assert document.value == {"count": 150}


async def test_each_job_is_done_by_one_of_several_processes(
    store: Store, url: str, project: str, kind: str
) -> None:
    due = time.time() - 1
    await store.write(*(Enqueue(Job(project, kind, f"run_{number}", due=due)) for number in range(60)))
    processes = [await start("work", url, project, kind, f"p{number}", 60) for number in range(3)]
    done = Counter([line for process in processes for line in await lines(process)])
    assert done == Counter(f"run_{number}" for number in range(60))


async def test_processes_that_start_at_once_do_not_fight_over_the_schema(
    url: str, project: str, kind: str
) -> None:
    processes = [await start("migrate", url, project, kind, f"p{number}", 0) for number in range(6)]
    assert sorted([line for process in processes for line in await lines(process)]) == [
        f"p{number}" for number in range(6)
    ]
