"""Images that models take: their types, by the first bytes, and their size."""

SIGNATURE_BYTES = 16

MAX_IMAGE = 20 * 1024 * 1024
"""Bytes of an image."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_type(beginning: bytes) -> str | None:
    """Return the media type of a png, jpeg, gif or webp image; None for anything else."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if beginning.startswith(signature)), None)
