"""One worker process's responses in the test's own loop: real store, real gateway, real jobs."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from handlers import conversations, responses
from handlers.context import Context, Principal, Stream
from inference.gateway import Gateway
from inference.jobs import LEASE_SECONDS, Jobs
from inference.responses.conversations import Conversations
from inference.responses.memory import ConnectionMemory
from inference.responses.responses import ResponseRequest, Responses
from inference.retrieval import Retrieval
from inference.retrieval.file_search import FileSearchType
from inference.webhooks.delivery import PAUSES, Webhooks
from inference.webhooks.registry import Registry
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.services import services_of
from tests.inference.engine.process import until

ENDED = {"cancelled", "completed", "failed", "incomplete"}


class Worker:
    """What one worker has, and the handlers' calls with it."""

    def __init__(self, store: Store, gateway: Gateway, **options: Any) -> None:
        self.store = store
        self.gateway = gateway
        name = f"worker-{secrets.token_hex(4)}"
        self.jobs = Jobs(store, name, poll=0.05, lease=options.pop("lease", LEASE_SECONDS))
        self.retrieval = Retrieval(store, gateway, self.jobs)
        searching = {"file_search": FileSearchType(self.retrieval, gateway.context_window)}
        self.conversations = Conversations(store, self.jobs)
        pauses = options.pop("pauses", PAUSES)
        self.webhooks = Webhooks(store, self.jobs, options.pop("registry", Registry()), pauses=pauses)
        prompts = options.pop("prompts", None)
        tools = options.pop("tools", searching)
        self.responses = Responses(store, gateway, self.jobs, tools, self.webhooks, prompts, **options)

    def context(self, project: str = "p", connection: ConnectionMemory | None = None) -> Context:
        services = services_of(
            store=self.store,
            gateway=self.gateway,
            jobs=self.jobs,
            retrieval=self.retrieval,
            conversations=self.conversations,
            responses=self.responses,
            webhooks=self.webhooks,
        )
        return Context(services, Principal(project), "", "test", "req", connection=connection)

    async def create(self, input: Any, *, project: str = "p", **fields: Any) -> JSON:
        """A response that is not streamed, as it was answered."""
        body = {"model": "m", "input": input, **fields}
        answer = await responses.create_response(self.context(project), body)
        assert isinstance(answer, dict)
        return answer

    async def stream(self, input: Any, *, project: str = "p", **fields: Any) -> AsyncIterator[bytes]:
        """The frames of a streamed response."""
        body = {"model": "m", "input": input, "stream": True, **fields}
        answer = await responses.create_response(self.context(project), body)
        assert isinstance(answer, Stream)
        return answer.events

    async def frames(self, id: str, after: int | None = None) -> bytes:
        """The frames of a response after that number, from the log."""
        answer = await responses.get_response(self.context(), id, stream=True, starting_after=after)
        assert isinstance(answer, Stream)
        return b"".join([piece async for piece in answer.events])

    async def get(self, id: str, *, project: str = "p") -> JSON:
        answer = await responses.get_response(self.context(project), id)
        assert isinstance(answer, dict)
        return answer

    async def ended(self, id: str, seconds: float = 20) -> JSON:
        """The response once it has ended."""

        async def has_ended() -> JSON | None:
            response = await self.get(id)
            return response if response["status"] in ENDED else None

        return await until(has_ended, seconds)

    async def follow(self, request: ResponseRequest, seen: list[JSON]) -> None:
        """Start a response and wait for its end; its events are added to `seen`, if it is streamed."""
        started = await self.responses.start(request)
        if started.events is None:
            await self.ended(request.id)
            return
        async for piece in started.events:
            seen.extend(parsed(piece))

    async def check_log(self, response: JSON, seen: list[JSON]) -> None:
        """Compare a response's log with the response, and with what a client saw of it."""
        log = parsed(await self.frames(response["id"]))
        assert [event["sequence_number"] for event in log] == list(range(len(log)))
        assert log[-1]["response"] == response
        assert log[: len(seen)] == seen

    async def conversation(self) -> str:
        return (await conversations.create_conversation(self.context(), {}))["id"]

    async def items(self, conversation: str) -> list[JSON]:
        """A conversation's items, oldest first."""
        page = await conversations.list_conversation_items(
            self.context(), conversation, limit=100, order="asc"
        )
        return page["data"]


@asynccontextmanager
async def worker(store: Store, gateway: Gateway, **options: Any) -> AsyncIterator[Worker]:
    """A worker that polls for jobs, until it is left."""
    made = Worker(store, gateway, **options)
    await made.responses.sealer.open()
    await made.jobs.start()
    try:
        yield made
    finally:
        await made.jobs.stop(0)
        await made.retrieval.close()
        await made.webhooks.close()


def parsed(frames: bytes) -> list[JSON]:
    """The events of a stream."""
    return [json.loads(each.split(b"\ndata: ", 1)[1]) for each in frames.split(b"\n\n")[:-1]]


def types(events: list[JSON]) -> list[str]:
    """The events' types, repeats folded."""
    folded: list[str] = []
    for event in events:
        if not folded or folded[-1] != event["type"]:
            folded.append(event["type"])
    return folded


def text_of(response: JSON) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for message in messages for part in message["content"])
