"""The code_interpreter tool of runs: what the model reads of its code, and what is left of code that was lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers import files, runs, threads
from inference.code.code_interpreter import (
    CODE_INTERPRETER,
    ThreadCodeInterpreter,
)
from inference.code.containers import Containers
from inference.code.kernels import Kernels
from inference.code.sandboxes import Sandboxes
from inference.engine.errors import ToolUnavailable
from inference.engine.tools import ToolType
from inference.gateway import Gateway
from persistence.collections import CONTAINERS
from persistence.errors import ContentNotFound
from persistence.store import Replace, Store
from persistence.types import JSON
from tests.fixtures.pages import PAGE
from tests.fixtures.sandboxes import bubblewrap, needs_sandbox
from tests.inference.engine.conftest import Asked, asked, gateway, store  # noqa: F401 - fixtures
from tests.inference.engine.process import Process, collect, script, text_of

pytestmark = needs_sandbox

TOOL = [{"type": CODE_INTERPRETER}]
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n"


def code(*texts: str) -> JSON:
    return {"calls": [{"name": CODE_INTERPRETER, "arguments": {"code": text}} for text in texts]}


class CodeProcess(Process):
    """A worker whose runs have the tool; the model `sees` reads images."""

    def __init__(self, store: Store, gateway: Gateway, **options: Any) -> None:  # noqa: F811 - fixtures
        types: dict[str, ToolType] = {"other": ToolType()}
        self.kernels = Kernels(Sandboxes(options.pop("driver", bubblewrap())), 4)
        super().__init__(store, gateway, tools=types, **options)
        found = self.retrieval.files
        self.containers = Containers(store, self.retrieval.deadlines, found, self.kernels)
        types[CODE_INTERPRETER] = ThreadCodeInterpreter(
            store, self.containers, found, lambda model: model == "sees"
        )

    async def answers(self, *turns: JSON, thread: str | None = None, **run: Any) -> str:
        """Run the turns in a thread, a new one unless one is given; return what the model says at last."""
        assistant = await self.assistant(tools=TOOL)
        if thread is None:
            thread = (await self.thread())["id"]
        await self.message(thread, script(*turns))
        ended = await self.settled(await self.run(thread, assistant["id"], **run))
        assert ended["status"] == "completed", ended["last_error"]
        answer = (await self.messages(thread))[-1]
        return text_of({"content": answer["content"][-1:]})

    async def close_sandboxes(self) -> None:
        """Lose the sandboxes, as when their worker is killed."""
        for key in self.kernels.keys(self.containers.token):
            await self.kernels.close(key)


@pytest.fixture
async def worker(store: Store, gateway: Gateway) -> AsyncIterator[CodeProcess]:  # noqa: F811 - a fixture
    worker = CodeProcess(store, gateway)
    await worker.containers.open()
    await worker.jobs.start()
    yield worker
    await worker.jobs.stop(0)
    await worker.containers.close()
    await worker.retrieval.close()


async def made_files(worker: CodeProcess) -> list[str]:
    page = await files.list_files(worker.context(), purpose="assistants_output", **PAGE)
    return [file["filename"] for file in page["data"]]


async def test_the_model_reads_what_its_code_prints_raises_and_writes(worker: CodeProcess) -> None:
    thread = (await worker.thread())["id"]
    said = await worker.answers(
        code("print('before')\n_ = open('/mnt/data/a.txt', 'w').write('abc')\n1 / 0"),
        {"text": "{tool}"},
        thread=thread,
    )
    assert said.startswith("before\n")
    assert "ZeroDivisionError" in said
    assert said.endswith("[Files written: /mnt/data/a.txt (3 bytes)]")
    assert await made_files(worker) == ["a.txt"]
    assert await worker.answers(code("2 + 3"), {"text": "{tool}"}, thread=thread) == "5"
    assert await worker.answers(code("pass"), {"text": "{tool}"}, thread=thread) == (
        "[The code ran and showed nothing.]"
    )
    empty = {"calls": [{"name": CODE_INTERPRETER, "arguments": {}}]}
    assert (await worker.answers(empty, {"text": "{tool}"}, thread=thread)).startswith(
        "The arguments have no code"
    )


async def test_the_model_reads_beginning_and_end_of_long_logs(worker: CodeProcess) -> None:
    thread = (await worker.thread())["id"]
    said = await worker.answers(
        code("print('first', 'x' * 40_000, 'last')"), {"text": "{tool}"}, thread=thread
    )
    assert said.startswith("first xxx")
    assert said.endswith("xxx last")
    assert 16_000 < len(said) < 16_200
    [run] = await worker.list_runs(thread)
    [step, _] = await worker.steps(run)
    [output] = step["step_details"]["tool_calls"][0]["code_interpreter"]["outputs"]
    assert len(output["logs"]) == len("first  last\n") + 40_000


async def test_calls_of_one_turn_run_one_after_the_other(worker: CodeProcess) -> None:
    thread = (await worker.thread())["id"]
    await worker.answers(code("x = 1", "x += 1", "print(x)"), {"text": "Done."}, thread=thread)
    [run] = await worker.list_runs(thread)
    [step, _] = await worker.steps(run)
    outputs = [call["code_interpreter"]["outputs"] for call in step["step_details"]["tool_calls"]]
    assert outputs == [[], [], [{"type": "logs", "logs": "2\n"}]]


async def test_the_model_is_told_that_variables_are_lost_and_files_are_there(worker: CodeProcess) -> None:
    thread = (await worker.thread())["id"]
    await worker.answers(
        code("x = 1\n_ = open('/mnt/data/a.txt', 'w').write('kept')"), {"text": "Done."}, thread=thread
    )
    await worker.close_sandboxes()

    said = await worker.answers(
        code("print('x' in globals(), open('/mnt/data/a.txt').read())"), {"text": "{tool}"}, thread=thread
    )

    assert said.startswith("The Python session is a new one: the variables and imports")
    assert said.endswith("False kept")
    assert await worker.answers(code("1"), {"text": "{tool}"}, thread=thread) == "1"


async def test_an_expired_container_is_replaced_by_one_with_the_users_files(worker: CodeProcess) -> None:
    content = await worker.retrieval.files.write(
        "p", _pieces(b"1,2"), filename="data.csv", purpose="assistants", id="file-data"
    )
    resources = {CODE_INTERPRETER: {"file_ids": [content.id]}}
    thread = (await worker.thread(tool_resources=resources))["id"]
    await worker.answers(
        code("x = 1\n_ = open('/mnt/data/a.txt', 'w').write('a')"), {"text": "Done."}, thread=thread
    )
    [container] = (await worker.store.page("p", CONTAINERS, limit=10)).documents
    old = {**container.value, "last_active_at": int(time.time()) - 3600}
    await worker.store.write(Replace(await worker.containers.records.get("p", container.id), value=old))

    said = await worker.answers(
        code("import os; print(os.listdir('/mnt/data'), 'x' in globals())"), {"text": "{tool}"}, thread=thread
    )

    assert said.startswith("The container of earlier calls is gone")
    assert said.endswith("['data.csv'] False")
    [again] = (await worker.store.page("p", CONTAINERS, limit=10)).documents
    assert again.id == container.id
    assert await made_files(worker) == ["a.txt"]


@pytest.mark.parametrize("model", ["m", "sees"])
async def test_only_models_that_read_images_get_them(
    worker: CodeProcess,
    asked: Asked,  # noqa: F811 - a fixture
    model: str,
) -> None:
    assistant = await worker.assistant(tools=TOOL, model=model)
    thread = await worker.thread(script(code(PLOT), {"text": "Done."}, tag=asked.tag))
    await worker.settled(await worker.run(thread["id"], assistant["id"]))

    messages = asked.all()[-1]["messages"]
    [output] = [message["content"] for message in messages if message["role"] == "tool"]
    images = [
        part["image_url"]["url"][:22]
        for message in messages
        if message["role"] == "user" and isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    assert images == (["data:image/png;base64,"] if model == "sees" else [])
    assert ("you cannot see it" in output) == (model != "sees")
    # Later runs know of the image, which the model's own message cannot hold.
    await worker.message(thread["id"], script({"text": "Later."}, tag=asked.tag))
    await worker.settled(await worker.run(thread["id"], assistant["id"]))
    assert asked.all()[-1]["messages"][-2]["content"].startswith("[The image file-")


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def started(worker: CodeProcess, thread: JSON, assistant: JSON) -> tuple[JSON, asyncio.Task[list[Any]]]:
    """Return a streamed run whose code has begun to sleep, and the task that reads its events."""
    begun = asyncio.Event()
    events = await worker.stream(thread["id"], assistant["id"])

    async def read() -> list[Any]:
        found = []
        async for event in events:
            found.append(event)
            if event[1] == "thread.run.step.delta" and "begun" in str(event[2]).split("outputs")[-1]:
                begun.set()
        return found

    reading = asyncio.create_task(read())
    async with asyncio.timeout(30):
        await begun.wait()
    [run] = await worker.list_runs(thread["id"])
    return run, reading


SLEEP = "import time\nprint('be' + 'gun', flush=True)\ntime.sleep(60)"


async def test_a_cancelled_run_ends_its_code(worker: CodeProcess) -> None:
    assistant = await worker.assistant(tools=TOOL)
    thread = await worker.thread(script(code(SLEEP), {"text": "Done."}))
    run, reading = await started(worker, thread, assistant)

    await runs.cancel_run(worker.context(), thread["id"], run["id"])

    events = await reading
    assert events[-2][1] == "thread.run.cancelled"
    assert (await worker.get(run))["status"] == "cancelled"
    [step] = await worker.steps(run)
    assert step["status"] == "cancelled"
    [call] = step["step_details"]["tool_calls"]
    assert call["code_interpreter"] == {"input": SLEEP, "outputs": [{"type": "logs", "logs": "begun\n"}]}
    async with asyncio.timeout(20):
        assert await worker.answers(code("1"), {"text": "{tool}"}, thread=thread["id"])


async def test_a_threads_container_is_deleted_with_it(worker: CodeProcess) -> None:
    thread = (await worker.thread())["id"]
    await worker.answers(code("_ = open('/mnt/data/a.txt', 'w').write('abc')"), {"text": ""}, thread=thread)
    [container] = (await worker.store.page("p", CONTAINERS, limit=10)).documents
    [entry] = container.state["files"].values()

    await threads.delete_thread(worker.context(), thread)

    assert not (await worker.store.page("p", CONTAINERS, limit=10)).documents
    with pytest.raises(ContentNotFound):
        _ = [piece async for piece in worker.store.read_content("p", entry["content"])]
    assert worker.kernels.keys(worker.containers.token) == []
    assert await made_files(worker) == ["a.txt"]


async def test_a_container_that_is_deleted_while_code_runs_costs_the_call_only(worker: CodeProcess) -> None:
    assistant = await worker.assistant(tools=TOOL)
    thread = await worker.thread(script(code(SLEEP), {"text": "{tool}"}))
    run, reading = await started(worker, thread, assistant)
    [container] = (await worker.store.page("p", CONTAINERS, limit=10)).documents

    await worker.containers.delete("p", container.id)

    assert (await reading)[-2][1] == "thread.run.completed"
    [call_step, _] = await worker.steps(run)
    [call] = call_step["step_details"]["tool_calls"]
    logs = "".join(output["logs"] for output in call["code_interpreter"]["outputs"])
    assert logs.startswith("begun\n")
    assert "not found" in logs


async def test_a_run_that_expires_ends_its_code(
    store: Store,  # noqa: F811 - a fixture
    gateway: Gateway,  # noqa: F811 - a fixture
) -> None:
    worker = CodeProcess(store, gateway, lifetime=6)
    await worker.containers.open()
    await worker.jobs.start()
    try:
        assistant = await worker.assistant(tools=TOOL)
        thread = await worker.thread(script(code(SLEEP), {"text": "Done."}))
        await collect(await worker.stream(thread["id"], assistant["id"]))
        [run] = await worker.list_runs(thread["id"])
        assert run["status"] == "expired"
        [step] = await worker.steps(run)
        assert step["status"] == "expired"
    finally:
        await worker.jobs.stop(0)
        await worker.containers.close()
        await worker.retrieval.close()


async def test_replayed_events_are_those_of_the_live_stream(worker: CodeProcess) -> None:
    assistant = await worker.assistant(tools=TOOL)
    thread = await worker.thread(
        script(code(PLOT + "print('é🦄')"), {"text": "See sandbox:/mnt/data/none.txt."})
    )
    live = await collect(await worker.stream(thread["id"], assistant["id"]))
    [run] = await worker.list_runs(thread["id"])
    assert await worker.events(run) == live


async def test_a_run_is_refused_where_no_code_can_be_isolated(
    store: Store,  # noqa: F811 - a fixture
    gateway: Gateway,  # noqa: F811 - a fixture
) -> None:
    worker = CodeProcess(store, gateway, driver=None)
    assistant = await worker.assistant(tools=TOOL)
    thread = await worker.thread("Hi")

    with pytest.raises(
        ToolUnavailable, match="'code_interpreter' is not available on this server: ASTROLABE_SANDBOX"
    ):
        await worker.run(thread["id"], assistant["id"])
    await worker.retrieval.close()
