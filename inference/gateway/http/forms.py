"""Multipart forms for providers; files are read from disk while they are sent."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from secrets import token_hex
from typing import Protocol

LARGEST_WHOLE_FILE = 32 * 1024 * 1024
"""Bytes of a file for a provider behind litellm, which takes it whole."""

_CONTROL = re.compile(r'["\r\n]')


class FormFile(Protocol):
    """A file to send: its size is known, and its bytes can be read again."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def filename(self) -> str:
        """Its name."""

    @property
    def content_type(self) -> str:
        """Its media type."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield its bytes."""


@dataclass(frozen=True)
class Form:
    """A form's fields in order; it can be sent several times."""

    fields: tuple[tuple[str, str | FormFile], ...]

    def text(self, name: str) -> str | None:
        """Return the text of a field, or None."""
        return next((value for one, value in self.fields if one == name and isinstance(value, str)), None)

    def with_text(self, name: str, text: str) -> "Form":
        """Return the form with that text in the field, at its place if it has one."""
        if self.text(name) is None:
            return Form((*self.fields, (name, text)))
        return Form(tuple((one, text if one == name else value) for one, value in self.fields))

    @cached_property
    def _boundary(self) -> str:
        return token_hex(16)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request with this form."""
        size = sum(len(head) + _size(value) for head, value in self._parts()) + len(self._end())
        content_type = f"multipart/form-data; boundary={self._boundary}"
        return {"content-type": content_type, "content-length": str(size)}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the encoded form."""
        for head, value in self._parts():
            if isinstance(value, bytes):
                yield head + value + b"\r\n"
                continue
            yield head
            async for piece in value.pieces():
                yield piece
            yield b"\r\n"
        yield self._end()

    def _parts(self) -> list[tuple[bytes, bytes | FormFile]]:
        parts: list[tuple[bytes, bytes | FormFile]] = []
        for name, value in self.fields:
            head = f'--{self._boundary}\r\ncontent-disposition: form-data; name="{_escaped(name)}"'
            if isinstance(value, str):
                parts.append((f"{head}\r\n\r\n".encode(), value.encode()))
                continue
            head += f'; filename="{_escaped(value.filename)}"'
            content_type = re.sub(r"[\r\n]", "", value.content_type)
            parts.append((f"{head}\r\ncontent-type: {content_type}\r\n\r\n".encode(), value))
        return parts

    def _end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode()


def _size(value: bytes | FormFile) -> int:
    return (len(value) if isinstance(value, bytes) else value.size) + len(b"\r\n")


def _escaped(name: str) -> str:
    """Return a name as HTML has it in forms."""
    return _CONTROL.sub(lambda match: f"%{ord(match[0]):02X}", name)
