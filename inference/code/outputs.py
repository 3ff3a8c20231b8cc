"""What code shows while it runs, and how it ends."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "error", "timeout", "killed", "memory", "processes", "files", "died"]
"""How code ended. After the first three its variables stay; after all but `files` its files do."""


@dataclass(frozen=True, slots=True)
class Text:
    """Something that the code printed, or its error."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the code showed."""

    content_type: str
    content: bytes


Output = Text | Image


REASONS: dict[Status, str] = {
    "timeout": "the code took too long",
    "memory": "the code used too much memory",
    "processes": "the code started too many processes",
    "files": "the code wrote too many files",
    "died": "the sandbox ended",
}
