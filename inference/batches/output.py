"""Makes the output file and the error file of a batch from its segments."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from inference.batches.journal import segments
from inference.batches.lines import split_lines
from inference.batches.objects import expired_line
from inference.batches.progress import Progress
from inference.identifiers import new_id
from inference.retrieval.contents import claim, write_unclaimed
from inference.retrieval.files import Files
from persistence import large_json
from persistence.collections import FILES
from persistence.large_json import Pauses
from persistence.store import Document, Key, Operation, Store
from persistence.types import JSON


@dataclass(slots=True)
class _Content:
    """A file's bytes, in the store already."""

    id: str
    size: int = 0


class OutputFiles:
    """The files of one batch that has ended, with the ids that its state has for them.

    Writing them again, after a worker was lost, changes nothing in a file that exists.
    """

    def __init__(
        self, store: Store, files: Files, document: Document, progress: Progress, longest_line: int
    ) -> None:
        self._store = store
        self._files = files
        self._document = document
        self._progress = progress
        self._longest_line = longest_line
        self._contents: dict[str, _Content] = {}

    async def write(self, *, with_expired: bool) -> None:
        """Write the contents; `with_expired` adds an error for each line that was not answered."""
        if self._progress.completed:
            await self._write("output", self._answers(is_success=True))
        if self._progress.failed or with_expired:
            await self._write("error", self._errors(with_expired=with_expired))

    async def creation(self) -> tuple[JSON, list[Operation]]:
        """Return the fields of the batch that name its files, and the operations that create these."""
        project, operations = self._document.key.project, list[Operation]()
        fields: JSON = {"output_file_id": None, "error_file_id": None}
        for name, content in self._contents.items():
            id = self._document.state["files"][name]
            fields[f"{name}_file_id"] = id
            existing = await self._store.get(Key(project, FILES, id))
            if existing is not None:
                operations.append(claim(project, existing.state["content"]))
                continue
            operations += self._files.creation(
                project,
                id=id,
                content=content.id,
                filename=f"{self._document.id}_{name}.jsonl",
                size=content.size,
                purpose="batch_output",
                media_type="application/jsonl",
                expires_after=self._document.state["output_expires_after"],
            )
        return fields, operations

    async def _write(self, name: str, lines: AsyncIterator[bytes]) -> None:
        project, content = self._document.key.project, _Content(new_id("content_"))
        content.size = await write_unclaimed(self._store, project, lines, id=content.id)
        if content.size:
            self._contents[name] = content

    async def _answers(self, *, is_success: bool) -> AsyncIterator[bytes]:
        """Yield the answers that succeeded or failed, each once, as lines."""
        project, seen = self._document.key.project, Progress.of_lines(self._progress.total)
        pauses = Pauses()
        async for segment in segments(self._store, project, self._document.id):
            lines = list[str]()
            for line, succeeded, stored in segment.value["answers"]:
                if seen.is_answered(line) or succeeded != is_success:
                    continue
                if isinstance(stored, str):
                    lines.append(stored)
                    continue
                async for piece in self._store.read_content(project, stored["content"]):
                    yield piece
                yield b"\n"
            seen.add(segment.value)
            if lines:
                yield "\n".join([*lines, ""]).encode()
            await pauses.pause_if_due()

    async def _errors(self, *, with_expired: bool) -> AsyncIterator[bytes]:
        async for piece in self._answers(is_success=False):
            yield piece
        if with_expired:
            async for custom_id in self._unanswered():
                yield expired_line(custom_id) + b"\n"

    async def _unanswered(self) -> AsyncIterator[str]:
        """Yield the custom_id of each line that has no answer."""
        progress, state = self._progress, self._document.state
        project, index, pauses = self._document.key.project, progress.resume_line, Pauses()
        pieces = self._store.read_content(project, state["content"], progress.resume_offset)
        async for line in split_lines(pieces, self._longest_line):
            if not progress.is_answered(index) and line.raw is not None:
                yield (await large_json.loads(line.raw))["custom_id"]
            index += 1
            await pauses.pause_if_due()
