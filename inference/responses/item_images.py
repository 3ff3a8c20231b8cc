"""The images of a context's items, which tools can edit."""

from collections.abc import Iterator

from inference.image_generation.generated_images import ITEM, is_reference
from persistence.types import JSON


def image_urls(items: list[JSON]) -> list[str]:
    """Return the images in their order: URLs, references, or `file:` and the id of a file."""
    return [url for item in items for url in _of_item(item)]


def _of_item(item: JSON) -> Iterator[str]:
    if item["type"] == ITEM:
        result = item.get("result")
        if result:
            kind = item.get("output_format") or "png"
            yield result if is_reference(result) else f"data:image/{kind};base64,{result}"
        return
    for member in ("content", "output"):
        parts = item.get(member)
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, dict) and part.get("type") in ("input_image", "computer_screenshot"):
                url = part.get("image_url") or (f"file:{part['file_id']}" if part.get("file_id") else None)
                if url:
                    yield url
