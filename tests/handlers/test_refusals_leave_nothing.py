"""A request that is refused writes nothing: no row of the store, and no file beside it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers import assistants, messages, runs, threads
from handlers.context import Context
from handlers.errors import ApiError
from inference.engine.state import ACTIVE_RUN
from inference.gateway import Gateway, Routes
from inference.gateway.routing.routes import Route
from inference.gateway.routing.targets import Target
from persistence.engines import open_store
from persistence.retry import update_with_retry
from persistence.store import Insert, Key, Replace
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.inference.engine.process import Process, gateway_to, process, until
from tests.inference.retrieval.library import Library

UNSEEN = "http://127.0.0.1:9/v1"
"""No model is asked here."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SEARCH = [{"type": "file_search"}]


class World:
    """A store with objects that refused requests name."""

    def __init__(self, worker: Process, library: Library) -> None:
        self.worker = worker
        self.library = library
        self.ids: dict[str, str] = {}

    async def fill(self) -> None:
        text = await self.library.file("A text.", "a.txt")
        picture = await self.library.file(PNG, "a.png")
        old = await self.library.file("x", "a.doc")
        sound = await self.library.file(b"ID3\x03\x00", "a.mp3")
        thread = await self.worker.thread("Hello")
        assistant = await self.worker.assistant()
        self.ids = {
            "TEXT": text["id"],
            "PICTURE": picture["id"],
            "OLD": old["id"],
            "SOUND": sound["id"],
            "THREAD": thread["id"],
            "ASSISTANT": assistant["id"],
        }

    def named(self, value: Any) -> Any:
        """`value` with the names of objects replaced by their ids."""
        if isinstance(value, dict):
            return {name: self.named(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self.named(member) for member in value]
        return self.ids.get(value, value) if isinstance(value, str) else value


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = open_store(f"sqlite:///{tmp_path}/astrolabe.db")
    await store.migrate()
    await store.open()
    gateway = gateway_to(UNSEEN)
    async with process(store, gateway) as worker:
        library = Library(tmp_path, store, gateway)
        world = World(worker, library)
        await world.fill()
        yield world
    await store.close()


Call = Callable[[World, Context, Any], Awaitable[Any]]


async def create_assistant(world: World, context: Context, body: JSON) -> Any:
    return await assistants.create_assistant(context, {"model": "m", **body})


async def modify_assistant(world: World, context: Context, body: JSON) -> Any:
    return await assistants.modify_assistant(context, world.ids["ASSISTANT"], body)


async def create_thread(world: World, context: Context, body: JSON) -> Any:
    return await threads.create_thread(context, body)


async def modify_thread(world: World, context: Context, body: JSON) -> Any:
    return await threads.modify_thread(context, world.ids["THREAD"], body)


async def create_message(world: World, context: Context, body: JSON) -> Any:
    return await messages.create_message(context, world.ids["THREAD"], {"role": "user", **body})


async def create_run(world: World, context: Context, body: JSON) -> Any:
    return await runs.create_run(context, world.ids["THREAD"], body)


async def create_thread_and_run(world: World, context: Context, body: JSON) -> Any:
    return await runs.create_thread_and_run(context, body)


def stores(*files: str) -> JSON:
    return {"file_search": {"vector_stores": [{"file_ids": list(files)}]}}


def message(content: Any = "x", *files: str) -> JSON:
    attachments = [{"file_id": file, "tools": SEARCH} for file in files]
    return {"role": "user", "content": content, "attachments": attachments}


def image(file: str) -> list[JSON]:
    return [{"type": "image_file", "image_file": {"file_id": file}}]


FILE_OF_STORE = "tool_resources.file_search.vector_stores[0].file_ids[1]"

REFUSED: list[tuple[Call, JSON, int, str | None]] = [
    (create_assistant, {"tool_resources": stores("TEXT", "file-none")}, 404, FILE_OF_STORE),
    (modify_assistant, {"tool_resources": stores("TEXT", "file-none")}, 404, FILE_OF_STORE),
    (modify_thread, {"tool_resources": stores("TEXT", "file-none")}, 404, FILE_OF_STORE),
    (create_thread, {"tool_resources": stores("TEXT", "file-none")}, 404, FILE_OF_STORE),
    (
        create_thread,
        {"tool_resources": stores("TEXT"), "messages": [message(), message("x", "TEXT", "file-none")]},
        404,
        "messages[1].attachments[1].file_id",
    ),
    (
        create_thread,
        {"tool_resources": stores("TEXT"), "messages": [message(image("TEXT"))]},
        400,
        "messages[0].content[0].image_file.file_id",
    ),
    (create_message, message("x", "TEXT", "file-none"), 404, "attachments[1].file_id"),
    (create_message, message("x", "TEXT", "OLD"), 400, "attachments[1].file_id"),
    (create_message, message("x", "TEXT", "SOUND"), 400, "attachments[1].file_id"),
    (create_message, message("x", "TEXT", "PICTURE"), 400, "attachments[1].file_id"),
    (create_message, message(image("TEXT"), "TEXT"), 400, "content[0].image_file.file_id"),
    (create_message, message("", "TEXT"), 400, "content"),
    (
        create_run,
        {"assistant_id": "asst_none", "additional_messages": [message("x", "TEXT")]},
        404,
        None,
    ),
    (
        create_run,
        {
            "assistant_id": "ASSISTANT",
            "additional_messages": [message("x", "TEXT")],
            "tool_resources": stores("TEXT", "file-none"),
        },
        404,
        FILE_OF_STORE,
    ),
    (
        create_thread_and_run,
        {"assistant_id": "asst_none", "thread": {"messages": [message("x", "TEXT")]}},
        404,
        None,
    ),
    (
        create_thread_and_run,
        {
            "assistant_id": "ASSISTANT",
            "thread": {"tool_resources": stores("TEXT")},
            "tool_resources": stores("TEXT", "file-none"),
        },
        404,
        FILE_OF_STORE,
    ),
]


async def assert_leaves_nothing(world: World, call: Awaitable[Any]) -> ApiError:
    """Check that the call is refused, and that the store is as it was before."""
    before = world.library.census()
    answer = await refused(call)
    assert world.library.census() == before
    return answer


@pytest.mark.parametrize(("call", "body", "status", "param"), REFUSED)
async def test_a_refused_request_leaves_nothing(
    world: World, call: Call, body: JSON, status: int, param: str | None
) -> None:
    context = world.worker.context()
    answer = await assert_leaves_nothing(world, call(world, context, world.named(body)))
    assert (answer.status, answer.param) == (status, param)


@pytest.mark.parametrize(
    ("call", "thread"),
    [
        (create_run, {"additional_messages": [message("x", "TEXT")]}),
        (create_thread_and_run, {"thread": {"messages": [message("x", "TEXT")]}}),
    ],
)
@pytest.mark.parametrize("model", [{"model": "none"}, {}])
async def test_a_run_with_a_model_that_no_route_knows_is_refused(
    world: World, call: Call, thread: JSON, model: JSON
) -> None:
    context = world.worker.context()
    routes = Routes({"known": Route("known", "chat", (Target("p", "openai", "m"),))})
    services = replace(context.services, gateway=Gateway(routes))
    asked = world.named({"assistant_id": "ASSISTANT", **thread, **model})
    answer = await assert_leaves_nothing(world, call(world, replace(context, services=services), asked))
    assert (answer.status, answer.param, answer.code) == (400, "model", "model_not_found")
    assert answer.message.startswith(f"The requested model '{model.get('model', 'm')}' does not exist.")
    assert "serves known." in answer.message


async def make_busy(world: World) -> None:
    """Have a run on the thread that no worker has."""
    store, thread_id = world.worker.store, world.ids["THREAD"]
    run = {"id": "run_1", "status": "in_progress"}
    await store.write(Insert(Key("p", "runs", "run_1"), run, parent=thread_id))
    await update_with_retry(
        store, Key("p", "threads", thread_id), lambda thread: Replace(thread, state={ACTIVE_RUN: "run_1"})
    )


async def test_a_busy_thread_gets_no_vector_store(world: World) -> None:
    context, thread_id = world.worker.context(), world.ids["THREAD"]
    body = world.named({"assistant_id": "ASSISTANT", "additional_messages": [message("x", "TEXT")]})
    await make_busy(world)
    await assert_leaves_nothing(world, runs.create_run(context, thread_id, body))
    await assert_leaves_nothing(
        world, messages.create_message(context, thread_id, world.named(message("x", "TEXT")))
    )


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (create_run, {"assistant_id": "ASSISTANT", "additional_messages": [message("x", "TEXT")]}),
        (create_run, {"assistant_id": "ASSISTANT", "tool_resources": stores("TEXT")}),
        (create_message, message("x", "TEXT")),
    ],
)
async def test_a_request_refused_for_a_run_that_started_meanwhile_leaves_no_vector_store(
    world: World, monkeypatch: pytest.MonkeyPatch, call: Call, body: JSON
) -> None:
    retrieval = world.worker.retrieval
    create = retrieval.create_vector_store

    async def create_while_a_run_starts(*args: Any, **options: Any) -> Any:
        created = await create(*args, **options)
        await make_busy(world)
        return created

    monkeypatch.setattr(retrieval, "create_vector_store", create_while_a_run_starts)
    before = world.library.census()

    answer = await refused(call(world, world.worker.context(), world.named(body)))

    async def deleted() -> bool:
        after = world.library.census()
        return {**after, "documents": after["documents"] - 1} == before  # the run that started

    assert answer.status == 400
    assert "active" in answer.message
    await until(deleted)
