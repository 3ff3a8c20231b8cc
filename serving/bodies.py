"""Parses multipart bodies; files go piece by piece into the store."""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from werkzeug.http import parse_options_header

from handlers.context import UploadedFile
from handlers.errors import BadRequest
from inference.identifiers import new_id
from inference.retrieval.contents import CLAIM_SECONDS, delete_unclaimed, discard
from persistence.store import Store
from serving.limits import file_too_large, too_large

PIECE = 512 * 1024
"""Bytes of a file that are gathered before they go to the store."""

ESCAPED = re.compile("%(22|[01][0-9A-F])")
MAX_FIELDS = 1000
MAX_FIELD = 1024 * 1024


@dataclass(slots=True)
class Form:
    """A multipart body: its fields in order, text as it is, files as what the store has of them."""

    fields: list[tuple[str, str | UploadedFile]] = field(default_factory=list)
    size: int = 0

    @property
    def files(self) -> list[UploadedFile]:
        """The files among the fields."""
        return [value for _, value in self.fields if isinstance(value, UploadedFile)]


@dataclass(slots=True)
class _Part:
    """The part being read: its headers, then either a text being gathered or a file being stored."""

    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    is_file: bool = False
    buffer: bytearray = field(default_factory=bytearray)
    size: int = 0
    ended: bool = False
    sink: "_Sink | None" = None


class _Sink:
    """One file on its way into the store, with its size and MD5."""

    def __init__(self, store: Store, project: str) -> None:
        self.content_id = new_id("content_")
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=4)
        self._write = asyncio.create_task(self._store(store, project))

    async def _store(self, store: Store, project: str) -> None:
        due = time.time() + CLAIM_SECONDS
        enqueued = asyncio.create_task(store.write(delete_unclaimed(project, self.content_id, due)))
        try:
            await store.write_content(project, self.content_id, self._pieces())
        finally:
            await asyncio.gather(enqueued, return_exceptions=True)
        await enqueued

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._queue.get()) is not None:
            # Hashing 512 kB takes a millisecond and releases the GIL.
            await asyncio.to_thread(self.md5.update, piece)
            yield piece

    async def put(self, piece: bytes) -> None:
        """Queue a piece for the store; raises what the store raised, if it has failed."""
        self.size += len(piece)
        await self._offer(piece)

    async def finish(self) -> None:
        """Wait until the whole file is durable."""
        await self._offer(None)
        await self._write

    async def abandon(self) -> None:
        """Stop writing; the store forgets what is unfinished."""
        self._write.cancel()
        await asyncio.gather(self._write, return_exceptions=True)

    async def _offer(self, piece: bytes | None) -> None:
        put = asyncio.ensure_future(self._queue.put(piece))
        try:
            await asyncio.wait((put, self._write), return_when=asyncio.FIRST_COMPLETED)
        finally:
            put.cancel()
        if self._write.done():
            await self._write  # It ended early, so it failed: raise why.


class MultipartReader:
    """Parses one multipart body; files go to the store as they arrive, never whole through memory.

    `text_limit` is how many bytes the texts may have together, `file_limit` how many a file may have. `hold`
    is called with the size of each piece of the texts.
    """

    def __init__(
        self,
        store: Store,
        project: str,
        boundary: bytes,
        takes_file: Callable[[str], bool],
        text_limit: int,
        file_limit: int,
        hold: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._project = project
        self._takes_file = takes_file
        self._form = Form()
        self._part = _Part()
        self._parts: list[_Part] = []
        self._sinks: list[_Sink] = []
        self._ended = False
        self._text_left = text_limit
        self._text_limit = text_limit
        self._file_limit = file_limit
        self._hold = hold
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as exc:
            raise BadRequest(f"Invalid 'Content-Type': {exc}", code="invalid_multipart") from exc

    async def read(self, body: AsyncIterator[bytes]) -> Form:
        """Read to the end; whatever goes wrong, no unfinished file is left in the store."""
        try:
            async for piece in body:
                self._form.size += len(piece)
                self._parse(piece)
                await self._drain()
            self._check_ended()
            await self._drain()
        except BaseException:
            await self._discard_files()
            raise
        return self._form

    def _check_ended(self) -> None:
        if not self._ended:
            raise BadRequest("The multipart body ends before its last boundary.", code="invalid_multipart")

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as exc:
            raise BadRequest(
                f"We could not parse the multipart body of your request: {exc}", code="invalid_multipart"
            ) from exc

    async def _drain(self) -> None:
        """Do what the parser's callbacks, which cannot wait, have left to do."""
        parts, self._parts = self._parts, []
        for part in parts:
            await self._take(part)
        if not self._part.ended and self._part.is_file and len(self._part.buffer) >= PIECE:
            await self._store_buffer(self._part)

    async def _take(self, part: _Part) -> None:
        """Finish a part whose end was seen."""
        if not part.is_file:
            self._form.fields.append((part.name, _text(part)))
            return
        await self._store_buffer(part)
        sink = part.sink
        assert sink is not None  # noqa: S101 - _store_buffer makes it
        await sink.finish()
        uploaded = UploadedFile(
            content_id=sink.content_id,
            filename=part.filename if part.filename is not None else part.name,
            content_type=part.headers.get("content-type", "application/octet-stream"),
            size=sink.size,
            md5=sink.md5.hexdigest(),
        )
        self._form.fields.append((part.name, uploaded))

    async def _store_buffer(self, part: _Part) -> None:
        if part.sink is None:
            part.sink = _Sink(self._store, self._project)
            self._sinks.append(part.sink)
        if part.buffer:
            piece = bytes(part.buffer)
            part.buffer.clear()
            await part.sink.put(piece)

    async def _discard_files(self) -> None:
        """Stop the writes of uploaded files, and delete what was stored."""
        for sink in self._sinks:
            await sink.abandon()
            await discard(self._store, self._project, sink.content_id)

    # --- the parser's callbacks ---

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        if len(self._form.fields) + len(self._parts) >= MAX_FIELDS:
            raise BadRequest(f"The form has more than {MAX_FIELDS} fields.", code="invalid_multipart")
        self._part = _Part()

    # The parser bounds the headers of a part: 8 of 4 kB.

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _on_header_end(self) -> None:
        part = self._part
        part.headers[part.header_name.decode("latin-1").lower()] = part.header_value.decode(
            "utf-8", "replace"
        )
        part.header_name.clear()
        part.header_value.clear()

    def _on_headers_finished(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get("content-disposition", ""))
        if "name" not in options:
            raise BadRequest("A part of the form has no name.", code="invalid_multipart")
        part.name = unescape(options["name"])
        part.filename = unescape(options["filename"]) if "filename" in options else None
        part.is_file = part.filename is not None or self._takes_file(part.name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.buffer += data[start:end]
        if part.is_file:
            part.size += end - start
            if part.size > self._file_limit:
                raise file_too_large(part.name, self._file_limit)
            return
        self._text_left -= end - start
        if self._text_left < 0:
            raise too_large(self._text_limit)
        if self._hold is not None:
            self._hold(end - start)
        if len(part.buffer) > MAX_FIELD:
            raise BadRequest(
                f"Invalid '{part.name}': longer than {MAX_FIELD} bytes.",
                param=part.name,
                code="string_above_max_length",
            )

    def _on_part_end(self) -> None:
        self._part.ended = True
        self._parts.append(self._part)

    def _on_end(self) -> None:
        self._ended = True


def _text(part: _Part) -> str:
    try:
        return part.buffer.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadRequest(
            f"Invalid '{part.name}': it is not UTF-8.", param=part.name, code="invalid_value"
        ) from exc


def boundary_of(content_type: str) -> bytes:
    """The boundary that a multipart Content-Type names; BadRequest where it names none."""
    _, options = parse_options_header(content_type)
    if not options.get("boundary"):
        raise BadRequest("The Content-Type names no multipart boundary.", code="invalid_multipart")
    return options["boundary"].encode("latin-1", "replace")


def unescape(name: str) -> str:
    """A form's name as its sender had it: HTML escapes quotes and control characters as %XX, no others."""
    return ESCAPED.sub(lambda match: chr(int(match[1], 16)), name)
