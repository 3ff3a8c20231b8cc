"""Find the type of an image, among those that models take, by its first bytes."""

SIGNATURE_BYTES = 16

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
