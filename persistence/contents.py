"""Contents: the bytes of files."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """That there are bytes of a file, to be read with `read_content`."""

    project: str
    id: str
    size: int


class ContentStore(Protocol):
    """Writes and reads the bytes of files as streams."""

    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Keep the bytes of a file; how many. Durable and readable when it returns, not before."""

    def read_content(
        self, project: str, id: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end` in pieces; ContentNotFound on the first of them."""

    async def delete_content(self, project: str, id: str) -> None:
        """Forget the bytes; none is no error."""
