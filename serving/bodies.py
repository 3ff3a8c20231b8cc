"""Parses multipart bodies; files go piece by piece into the store, or on disk."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from werkzeug.http import parse_options_header

from handlers.context import UploadedFile
from handlers.errors import BadRequest
from inference.spool import SpooledFile
from serving.limits import file_too_large, too_large
from serving.sinks import Sink

PIECE = 512 * 1024
"""Bytes of a file that are gathered before they go to the store."""

ESCAPED = re.compile("%(22|[01][0-9A-F])")
MAX_FIELDS = 1000
MAX_FIELD = 1024 * 1024
MAX_RELAYED_FIELD = 8 * 1024 * 1024
"""Bytes of a text that goes to a provider: speakers of a transcription are given as data URLs."""


@dataclass(slots=True)
class Form:
    """A multipart body: its fields in order, text as it is, files as what was kept of them."""

    fields: list[tuple[str, str | UploadedFile | SpooledFile]] = field(default_factory=list)
    size: int = 0

    @property
    def files(self) -> list[UploadedFile]:
        """The files that are in the store."""
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
    sink: Sink | None = None


class MultipartReader:
    """Parses one multipart body; files go where `open_sink` says as they arrive, never whole through memory.

    `text_limit` is how many bytes the texts may have together, `file_limit` how many a file may have, and
    `field_limit` one text. `hold` is called with the size of each piece of the texts.
    """

    def __init__(
        self,
        open_sink: Callable[[], Sink],
        boundary: bytes,
        takes_file: Callable[[str], bool],
        text_limit: int,
        file_limit: int,
        hold: Callable[[int], None] | None = None,
        field_limit: int = MAX_FIELD,
    ) -> None:
        self._open_sink = open_sink
        self._takes_file = takes_file
        self._form = Form()
        self._part = _Part()
        self._parts: list[_Part] = []
        self._sinks: list[Sink] = []
        self._ended = False
        self._text_left = text_limit
        self._text_limit = text_limit
        self._file_limit = file_limit
        self._hold = hold
        self._field_limit = field_limit
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as exc:
            raise BadRequest(f"Invalid 'Content-Type': {exc}", code="invalid_multipart") from exc

    async def read(self, body: AsyncIterator[bytes]) -> Form:
        """Read to the end; whatever goes wrong, no unfinished file is left."""
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
        filename = part.filename if part.filename is not None else part.name
        content_type = part.headers.get("content-type", "application/octet-stream")
        self._form.fields.append((part.name, sink.file(filename, content_type)))

    async def _store_buffer(self, part: _Part) -> None:
        if part.sink is None:
            part.sink = self._open_sink()
            self._sinks.append(part.sink)
        if part.buffer:
            piece = bytes(part.buffer)
            part.buffer.clear()
            await part.sink.put(piece)

    async def _discard_files(self) -> None:
        """Stop the writes of uploaded files, and delete what was written."""
        for sink in self._sinks:
            await sink.discard()

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
        if len(part.buffer) > self._field_limit:
            raise BadRequest(
                f"Invalid '{part.name}': longer than {self._field_limit} bytes.",
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
