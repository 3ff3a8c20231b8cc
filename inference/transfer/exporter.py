"""Exports what an API of OpenAI's form shows of a project into a folder."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path

import orjson

from inference.transfer.client import Refused, SourceClient, SourceError
from inference.transfer.folder import file_paths
from inference.transfer.records import is_id
from persistence.types import JSON

NOT_GIVEN = (400, 403, 404)
"""Statuses by which a server says that it does not give the bytes of a file."""

NOT_SERVED = (400, 403, 404, 405, 501)
"""Statuses by which a server says that it has no such list."""

INCLUDE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
"""The members of items that are answered only where they are asked for."""


class Exporter:
    """Pulls objects, unit by unit: a file, a vector store, the assistants, a thread or conversation.

    A unit that is whole is noted in done.txt; an export that is started again leaves it out.
    """

    def __init__(
        self, client: SourceClient, folder: Path, concurrency: int, progress: Callable[[Counter[str]], None]
    ) -> None:
        self._client = client
        self._folder = folder
        self._concurrency = concurrency
        self._progress = progress
        self._done: set[str] = set()
        self._without_bytes: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self.notes: list[str] = []

    async def export(self, threads: Iterable[str] | None, conversations: Iterable[str] | None = None) -> None:
        """Export everything; `threads` and `conversations` are ids, None for all that the server lists.

        Raise SourceError if the server cannot be used at all. What fails alone is in `failed`, and is tried
        again by the next export into the folder; `notes` say what is incomplete for good.
        """
        await self._client.get("/assistants", limit=1)
        self._open()
        await self._unit("assistants", self._assistants)
        await self._each("file", self._listed("/files"), self._file)
        await self._each("vector_store", self._listed("/vector_stores"), self._vector_store)
        ids = self._listed("/threads") if threads is None else _given(threads)
        await self._each("thread", ids, self._thread)
        ids = self._conversations() if conversations is None else _given(conversations)
        await self._each("conversation", ids, self._conversation)
        for id, reason in self._without_bytes.items():
            has_text = file_paths(self._folder, id)[1].exists()
            kept = "its text is kept" if has_text else "and no vector store has its text: it is not imported"
            self.notes.append(f"file {id}: {reason}; {kept}")

    def _open(self) -> None:
        (self._folder / "files").mkdir(parents=True, exist_ok=True)
        source, done = self._folder / "source.txt", self._folder / "done.txt"
        if source.exists() and source.read_text().strip() != self._client.name:
            raise SourceError(
                f"{self._folder} holds an export of {source.read_text().strip()}; give another folder"
            )
        source.write_text(f"{self._client.name}\n")
        for path in (done, *self._folder.glob("*.jsonl")):
            _cut_torn_line(path)
        self._done = set(done.read_text().split("\n")) if done.exists() else set()

    # --- units ---

    async def _each(
        self,
        kind: str,
        objects: AsyncIterator[JSON],
        work: Callable[[JSON], AsyncIterator[tuple[str, list[JSON]]]],
    ) -> None:
        """Export a unit for each object, some at the same time."""
        running: set[asyncio.Task[None]] = set()
        try:
            async for one in objects:
                id = one.get("id")
                if not is_id(id):
                    self.failed.append(f"{kind}: unusable id {str(id)[:80]!r}")
                    continue
                running.add(asyncio.create_task(self._unit(f"{kind} {id}", lambda one=one: work(one))))  # type: ignore[misc]
                if len(running) >= self._concurrency:
                    finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in finished:
                        task.result()
            await asyncio.gather(*running)
        except SourceError as exc:
            self.failed.append(f"{kind}s: {exc}{_HINTS.get(kind, '')}")
        finally:
            for task in running:
                task.cancel()

    async def _unit(self, name: str, work: Callable[[], AsyncIterator[tuple[str, list[JSON]]]]) -> None:
        """Write what a unit yields, then note that it is done."""
        if name in self._done:
            return
        found: dict[str, list[JSON]] = {}
        try:
            async for kind, objects in work():
                found.setdefault(kind, []).extend(objects)
        except SourceError as exc:
            self.failed.append(f"{name}: {exc}")
            return
        for kind, objects in found.items():
            with (self._folder / f"{kind}.jsonl").open("ab") as target:
                target.write(b"".join(orjson.dumps(one) + b"\n" for one in objects))
            self.counts[kind] += len(objects)
        with (self._folder / "done.txt").open("a") as target:
            target.write(f"{name}\n")
        self._done.add(name)
        self._progress(self.counts)

    async def _listed(self, path: str) -> AsyncIterator[JSON]:
        async for page in self._client.pages(path):
            for one in page:
                yield one

    async def _conversations(self) -> AsyncIterator[JSON]:
        """Yield the conversations that the server lists; OpenAI's lists none."""
        try:
            async for one in self._listed("/conversations"):
                yield one
        except Refused as exc:
            if exc.status not in NOT_SERVED:
                raise
            self.notes.append(
                "conversations: this server lists none; give their ids with --conversations FILE, one a line"
            )

    async def _assistants(self) -> AsyncIterator[tuple[str, list[JSON]]]:
        async for page in self._client.pages("/assistants"):
            yield "assistants", page

    async def _file(self, file: JSON) -> AsyncIterator[tuple[str, list[JSON]]]:
        content, _ = file_paths(self._folder, file["id"])
        try:
            await self._client.download(f"/files/{file['id']}/content", content)
        except Refused as exc:
            if exc.status not in NOT_GIVEN:
                raise
            self._without_bytes[file["id"]] = str(exc)
        yield "files", [file]

    async def _vector_store(self, store: JSON) -> AsyncIterator[tuple[str, list[JSON]]]:
        yield "vector_stores", [store]
        path = f"/vector_stores/{store['id']}/files"
        async for page in self._client.pages(path):
            for one in page:
                await self._text(path, one)
            yield "vector_store_files", [{"vector_store_id": store["id"], **one} for one in page]

    async def _text(self, path: str, file: JSON) -> None:
        """Keep the text of a file whose bytes the server does not give."""
        id = file.get("id")
        if not is_id(id):
            return
        content, text = file_paths(self._folder, id)
        if content.exists() or text.exists():
            return
        try:
            answer = await self._client.get(f"{path}/{id}/content")
        except Refused as exc:
            if exc.status not in NOT_GIVEN:
                raise
            return
        parts = answer.get("data") or answer.get("content") or []
        text.write_text("".join(part.get("text", "") for part in parts if isinstance(part, dict)))

    async def _thread(self, thread: JSON) -> AsyncIterator[tuple[str, list[JSON]]]:
        path = f"/threads/{thread['id']}"
        yield "threads", [await self._client.get(path)]
        async for page in self._client.pages(f"{path}/messages"):
            yield "messages", page
        async for page in self._client.pages(f"{path}/runs"):
            yield "runs", page
            for run in page:
                async for steps in self._client.pages(f"{path}/runs/{run['id']}/steps"):
                    yield "run_steps", steps

    async def _conversation(self, conversation: JSON) -> AsyncIterator[tuple[str, list[JSON]]]:
        path = f"/conversations/{conversation['id']}"
        conversation = await self._client.get(path)
        yield "conversations", [conversation]
        number = 0
        async for page in self._client.pages(f"{path}/items", **{"include[]": INCLUDE}):
            yield (
                "conversation_items",
                [
                    {
                        "id": item.get("id"),
                        "conversation_id": conversation["id"],
                        "created_at": conversation.get("created_at"),
                        "number": number + index,
                        "item": item,
                    }
                    for index, item in enumerate(page)
                ],
            )
            number += len(page)


_HINTS: Mapping[str, str] = {
    "thread": ". This server lists no threads: give their ids with --threads FILE, one a line"
}


async def _given(ids: Iterable[str]) -> AsyncIterator[JSON]:
    for id in ids:
        yield {"id": id}


def _cut_torn_line(path: Path) -> None:
    """Remove the end of a line that an interrupted export has not written whole."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        end = size
        while end > 0:
            start = max(end - 65_536, 0)
            file.seek(start)
            cut = file.read(end - start).rfind(b"\n")
            if cut >= 0:
                end = start + cut + 1
                break
            end = start
        if end < size:
            file.truncate(end)
