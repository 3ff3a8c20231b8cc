"""Contents: the bytes of files."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """A record that a file has bytes, to be read with `read_content`."""

    project: str
    id: str
    size: int


class ContentStore(Protocol):
    """Writes and reads the bytes of files as streams."""

    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Write the bytes of a file; return their number. Durable and readable only when it returns."""

    def read_content(
        self, project: str, id: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to `end`; ContentNotFound on the first piece."""

    async def delete_content(self, project: str, id: str) -> None:
        """Delete the bytes; none is no error."""
