"""The round trips of each operation to the store; on a cluster they are its latency."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.figures import Figure, at_most
from bench.files import text
from bench.load import KEY, BenchFailed
from bench.rig import Rig
from inference.identifiers import new_id
from persistence.engines import open_store
from serving.app import create_app
from serving.auth import OPEN_PROJECT
from serving.logs import configure
from serving.services import services_over
from serving.settings import Settings
from tests.counting import CountingStore

IDLE = ("take_jobs", "renew_job", "sweep")
"""What a worker asks periodically, whether or not there is work."""

TEXT_BYTES = 273_000

MODELS = """
providers:
  loopback: {{base_url: "{url}", api_key: any}}
models:
  bench-20: {{provider: loopback}}
  embedding: {{provider: loopback, kind: embedding}}
embedding_model: embedding
"""


class InProcess:
    """The whole application in this process, over a store that counts calls."""

    def __init__(self, folder: Path, provider: str, store: str | None = None) -> None:
        models = folder / "models.yaml"
        models.write_text(MODELS.format(url=provider))
        models.chmod(0o600)
        settings = Settings.read(ASTROLABE_MODELS=models, ASTROLABE_LOG_LEVEL="warning")
        configure(settings.log_level)
        self.store = CountingStore(open_store(store or f"sqlite:///{folder}/astrolabe.db"))
        self.services = services_over(self.store, settings)
        self._app = create_app(settings, self.services)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the lifespan from start to end."""
        messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        answers: asyncio.Queue[Any] = asyncio.Queue()
        life = asyncio.create_task(self._app({"type": "lifespan"}, messages.get, answers.put))
        await messages.put({"type": "lifespan.startup"})
        if (await answers.get())["type"] != "lifespan.startup.complete":
            raise BenchFailed("the application did not start")
        try:
            yield
        finally:
            await messages.put({"type": "lifespan.shutdown"})
            await life

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the response's JSON; None for a stream, which is read to its end."""
        content = b"" if body is None else orjson.dumps(body)
        scope = {
            "type": "http", "method": method, "path": path.partition("?")[0], "scheme": "http",
            "query_string": path.partition("?")[2].encode(),
            "headers": [
                (b"authorization", KEY["Authorization"].encode()),
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(content)),
            ],
        }  # fmt: skip
        arriving = iter([{"type": "http.request", "body": content, "more_body": False}])
        sent: list[Any] = []

        async def receive() -> Any:
            return next(arriving, None) or await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        if sent[0]["status"] != 200:
            raise BenchFailed(f"{method} {path} answered {sent[0]['status']}: {answer[:300]!r}")
        return None if answer.startswith((b"id:", b"event:", b"data:")) else orjson.loads(answer)

    async def trips(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the round trips of a request and its JSON."""
        self.store.calls.clear()
        answer = await self.ask(method, path, body)
        return self.counted(), answer

    async def upload(self, content: bytes) -> str:
        """Upload bytes and return the file's id."""

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        name = new_id("content_")
        await self.store.write_content(OPEN_PROJECT, name, pieces())
        file = await self.services.retrieval.files.create(
            OPEN_PROJECT, content=name, filename="book.txt", size=len(content), purpose="assistants"
        )
        return file.id

    async def ingest(self, vector_store: str, file: str) -> int:
        """Attach a file and wait until it can be searched; return the number of polls."""
        path = f"/v1/vector_stores/{vector_store}/files"
        member, polls = await self.ask("POST", path, {"file_id": file}), 0
        while member["status"] == "in_progress":
            await asyncio.sleep(0.1)
            member = await self.ask("GET", f"{path}/{file}")
            polls += 1
        if member["status"] != "completed":
            raise BenchFailed(f"the text was not ingested: {member['last_error']}")
        return polls

    def counted(self) -> int:
        """Return the round trips since the last request."""
        return sum(count for verb, count in self.store.calls.items() if verb not in IDLE)


def round_trips(rig: Rig) -> Iterator[Figure]:
    """Measure the round trips of the operations."""
    with rig.provider(1) as provider:
        counted = uvloop.run(count(InProcess(rig.room("trips"), provider.url)))
    for name, (trips, bar) in counted.items():
        yield Figure(
            f"round trips to the store: {name}", trips, "", bar=None if bar is None else at_most(bar)
        )


async def count(app: InProcess) -> dict[str, tuple[int, int | None]]:
    """Return the round trips and the bar of each operation."""
    async with app.running():
        return {**await count_runs(app), **await count_responses(app), **await count_files(app)}


async def count_runs(app: InProcess) -> dict[str, tuple[int, int | None]]:
    """Return those of assistants, threads, messages and runs."""
    made, assistant = await app.trips("POST", "/v1/assistants", {"model": "bench-20"})
    got, _ = await app.trips("GET", f"/v1/assistants/{assistant['id']}")
    threaded, thread = await app.trips("POST", "/v1/threads", {})
    messages = f"/v1/threads/{thread['id']}/messages"
    added, _ = await app.trips("POST", messages, {"role": "user", "content": "Why is the sky blue?"})
    run = {"assistant_id": assistant["id"], "stream": True}
    streamed, _ = await app.trips("POST", f"/v1/threads/{thread['id']}/runs", run)
    listed, _ = await app.trips("GET", f"{messages}?limit=20")
    background, run = await app.trips("POST", f"/v1/threads/{thread['id']}/runs", {**run, "stream": False})
    polled = 0
    while run["status"] != "completed":
        await asyncio.sleep(0.01)
        run = await app.ask("GET", f"/v1/threads/{thread['id']}/runs/{run['id']}")
        polled += 1
    background = app.counted() - polled
    polling, _ = await app.trips("GET", f"/v1/threads/{thread['id']}/runs/{run['id']}")
    return {
        "create an assistant": (made, 2),
        "get an assistant": (got, 1),
        "create a thread": (threaded, 2),
        "add a message": (added, 3),
        "list messages": (listed, 2),
        "a streamed run, whole": (streamed, 8),
        "a background run, whole": (background, None),
        "poll a run": (polling, 1),
    }


async def count_responses(app: InProcess) -> dict[str, tuple[int, int | None]]:
    """Return those of responses."""
    asked = {"model": "bench-20", "input": "Why is the sky blue?"}
    made, first = await app.trips("POST", "/v1/responses", asked)
    continued, _ = await app.trips("POST", "/v1/responses", {**asked, "previous_response_id": first["id"]})
    streamed, _ = await app.trips("POST", "/v1/responses", {**asked, "stream": True})
    got, _ = await app.trips("GET", f"/v1/responses/{first['id']}")
    return {
        "a response, whole": (made, 6),
        "a response that continues another, whole": (continued, 6),
        "a streamed response, whole": (streamed, 6),
        "get a response": (got, 1),
    }


async def count_files(app: InProcess) -> dict[str, tuple[int, int | None]]:
    """Return those of vector stores."""
    file = await app.upload(text(TEXT_BYTES))
    store = await app.ask("POST", "/v1/vector_stores", {})
    path = f"/v1/vector_stores/{store['id']}"
    app.store.calls.clear()
    polls = await app.ingest(store["id"], file)
    ingested = app.counted()
    poll, _ = await app.trips("GET", f"{path}/files/{file}")
    searched, _ = await app.trips("POST", f"{path}/search", {"query": "which star rises"})
    return {
        f"ingest a text of {TEXT_BYTES // 1000} kB": (ingested - polls * poll, 20),
        "search a vector store": (searched, None),
    }
