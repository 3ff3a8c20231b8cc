"""One worker process's parts in the test's own loop: real store, real gateway, real jobs."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from handlers import assistants, messages, run_steps, runs, threads
from handlers.context import Context, Principal, Stream
from inference.assistants.runs import Runs
from inference.code.containers import Containers
from inference.code.kernels import Kernels
from inference.code.sandboxes import Sandboxes
from inference.gateway import Gateway, Routes
from inference.jobs import LEASE_SECONDS, Jobs
from inference.responses.conversations import Conversations
from inference.retrieval import Retrieval
from inference.retrieval.file_search import FileSearchType
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.services import services_of

Event = tuple[int, str, Any]

SETTLED = {"requires_action", "cancelled", "completed", "failed", "incomplete", "expired"}


class Process:
    """What one worker has, and the handlers' calls with it."""

    def __init__(self, store: Store, gateway: Gateway, **options: Any) -> None:
        self.store = store
        self.gateway = gateway
        name = f"worker-{secrets.token_hex(4)}"
        lease = options.pop("lease", LEASE_SECONDS)
        # Short leases run out on a busy machine too, more often than a job may be taken over.
        self.jobs = Jobs(store, name, poll=0.05, lease=lease, max_takeovers=1000)
        self.retrieval = Retrieval(store, gateway, self.jobs)
        self.conversations = Conversations(store, self.jobs)
        kernels = Kernels(Sandboxes(None), most=1)
        self.containers = Containers(store, self.retrieval.deadlines, self.retrieval.files, kernels)
        searching = {"file_search": FileSearchType(self.retrieval, gateway.context_window)}
        self.runs = Runs(store, gateway, self.jobs, options.pop("tools", searching), **options)

    def context(self, project: str = "p") -> Context:
        services = services_of(
            store=self.store,
            gateway=self.gateway,
            jobs=self.jobs,
            runs=self.runs,
            retrieval=self.retrieval,
            conversations=self.conversations,
            containers=self.containers,
        )
        return Context(services, Principal(project), "", "test", "req")

    async def assistant(self, **fields: Any) -> JSON:
        return await assistants.create_assistant(self.context(), {"model": "m", **fields})

    async def thread(self, *contents: str, **fields: Any) -> JSON:
        said = [{"role": "user", "content": content} for content in contents]
        return await threads.create_thread(self.context(), {"messages": said, **fields})

    async def message(self, thread_id: str, content: Any, **fields: Any) -> JSON:
        return await messages.create_message(
            self.context(), thread_id, {"role": "user", "content": content, **fields}
        )

    async def run(self, thread_id: str, assistant_id: str, **fields: Any) -> JSON:
        """A background run, as it was answered."""
        body = {"assistant_id": assistant_id, **fields}
        answer = await runs.create_run(self.context(), thread_id, body)
        assert isinstance(answer, dict)
        return answer

    async def stream(self, thread_id: str, assistant_id: str, **fields: Any) -> AsyncIterator[Event]:
        """The events of a streamed run."""
        body = {"assistant_id": assistant_id, "stream": True, **fields}
        answer = await runs.create_run(self.context(), thread_id, body)
        assert isinstance(answer, Stream)
        return parsed(answer.events)

    async def submit(self, run: JSON, **outputs: str) -> JSON:
        answer = await runs.submit_tool_outputs_to_run(
            self.context(), run["thread_id"], run["id"], {"tool_outputs": _outputs(outputs)}
        )
        assert isinstance(answer, dict)
        return answer

    async def submit_stream(self, run: JSON, **outputs: str) -> AsyncIterator[Event]:
        body = {"tool_outputs": _outputs(outputs), "stream": True}
        answer = await runs.submit_tool_outputs_to_run(self.context(), run["thread_id"], run["id"], body)
        assert isinstance(answer, Stream)
        return parsed(answer.events)

    async def events(self, run: JSON, after: int = -1) -> list[Event]:
        stream = await runs.get_run_events(self.context(), run["thread_id"], run["id"], after)
        return await collect(parsed(stream.events))

    async def get(self, run: JSON) -> JSON:
        return await runs.get_run(self.context(), run["thread_id"], run["id"])

    async def settled(self, run: JSON, seconds: float = 20) -> JSON:
        """The run once no worker has anything to do for it."""

        async def rests() -> JSON | None:
            fresh = await self.get(run)
            return fresh if fresh["status"] in SETTLED else None

        return await until(rests, seconds)

    async def settled_from(self, run: JSON, status: str, seconds: float = 20) -> JSON:
        """The run once it rests in another status."""

        async def rests() -> JSON | None:
            fresh = await self.get(run)
            return fresh if fresh["status"] in SETTLED - {status} else None

        return await until(rests, seconds)

    async def messages(self, thread_id: str, **query: Any) -> list[JSON]:
        """Oldest first."""
        query = {"order": "asc", "limit": 100, **query}
        return (await messages.list_messages(self.context(), thread_id, **query))["data"]

    async def list_runs(self, thread_id: str) -> list[JSON]:
        """Newest first."""
        return (await runs.list_runs(self.context(), thread_id, limit=20, order="desc"))["data"]

    async def steps(self, run: JSON) -> list[JSON]:
        """Oldest first."""
        page = await run_steps.list_run_steps(
            self.context(), run["thread_id"], run["id"], limit=100, order="asc"
        )
        return page["data"]


@asynccontextmanager
async def process(store: Store, gateway: Gateway, **options: Any) -> AsyncIterator[Process]:
    """A process that polls for jobs, until it is left."""
    made = Process(store, gateway, **options)
    await made.jobs.start()
    try:
        yield made
    finally:
        await made.jobs.stop(0)
        await made.retrieval.close()


def gateway_to(url: str) -> Gateway:
    return Gateway(Routes.from_environment("sk-test", url))


def script(*turns: JSON, tag: str | None = None) -> str:
    """A user's message that tells the provider what to answer."""
    return "script: " + json.dumps({"tag": tag or secrets.token_hex(6), "turns": list(turns)})


def text_of(message: JSON) -> str:
    return "".join(part["text"]["value"] for part in message["content"])


def names(events: list[Event]) -> list[str]:
    """The events' names, repeats folded."""
    folded: list[str] = []
    for _, name, _ in events:
        if not folded or folded[-1] != name:
            folded.append(name)
    return folded


async def parsed(frames: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    async for piece in frames:
        assert piece.endswith(b"\n\n")
        for each in piece.split(b"\n\n")[:-1]:
            number, event, data = each.split(b"\n", 2)
            assert number.startswith(b"id: ")
            assert event.startswith(b"event: ")
            assert data.startswith(b"data: ")
            value = data[6:].decode()
            yield int(number[4:]), event[7:].decode(), value if value == "[DONE]" else json.loads(value)


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


async def until(found: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """What `found` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while True:
        value = await found()
        if value:
            return value
        assert time.monotonic() < deadline, "did not come about in time"
        await asyncio.sleep(0.02)


def _outputs(outputs: dict[str, str]) -> list[JSON]:
    return [{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()]
