"""Images that models take: their types, by the first bytes, and their size."""

from collections.abc import Iterable

SIGNATURE_BYTES = 16

MAX_IMAGE = 20 * 1024 * 1024
"""Bytes of an image."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)

SEEN_IMAGE = 384 * 1024
"""Bytes of an image of a tool's result that the model sees; of a larger one it is only told."""

SEEN_IMAGES = 1024 * 1024
"""Bytes, as data URLs, of the images of one tool that the model sees in a run: its state holds them."""


class SeenImages:
    """Chooses the images of a tool's results that the model sees in a run.

    `seen` bytes of data URLs were shown to it already. A model that reads no images sees none.
    """

    def __init__(self, *, sees_images: bool, seen: int = 0) -> None:
        self._room = SEEN_IMAGES - seen if sees_images else 0

    @property
    def has_room(self) -> bool:
        """Whether the model may see another image."""
        return self._room > 0

    def choose(self, urls: Iterable[str]) -> list[str]:
        """Return those of the data URLs that the model sees."""
        chosen: list[str] = []
        for url in urls:
            data = len(url) - url.find(",") - 1
            if data * 3 // 4 <= SEEN_IMAGE + 2 and len(url) <= self._room:  # up to 2 bytes are padding
                self._room -= len(url)
                chosen.append(url)
        return chosen


def image_type(beginning: bytes) -> str | None:
    """Return the media type of a png, jpeg, gif or webp image; None for anything else."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if beginning.startswith(signature)), None)
