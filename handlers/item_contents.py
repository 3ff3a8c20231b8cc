"""Check what the items of responses and conversations name: uploaded files, and images by URL."""

from handlers.context import Context
from handlers.errors import BadRequest
from handlers.image_urls import check_image_url
from handlers.resources import find_file
from inference.responses.items import named_in
from persistence.large_json import Pauses
from persistence.types import JSON

MAX_FILE_URLS = 10
"""Files by URL in one request: each of them may take seconds."""


async def check_files_and_images(context: Context, items: list[JSON], param: str) -> None:
    """Refuse items that name a file which the project does not have, or an image by a broken URL.

    `items` are in stored form; `param` is the field that has them.
    """
    pauses, found, urls = Pauses(), set[str](), list[tuple[str, str]]()
    for index, item in enumerate(items):
        for id, where in named_in(item, "file_id", f"{param}[{index}]"):
            if id not in found:
                await find_file(context, id, where)
                found.add(id)
            await pauses.pause_if_due()
        urls += named_in(item, "file_url", f"{param}[{index}]")
        await pauses.pause_if_due()
    if len(urls) > MAX_FILE_URLS:
        message = f"Too many files by URL: expected at most {MAX_FILE_URLS}, but got {len(urls)}."
        raise BadRequest(message, param=urls[MAX_FILE_URLS][1], code="array_above_max_length")
    for url, where in urls:
        if not url.startswith(("http://", "https://")):
            message = f"Invalid '{where}': expected a URL of http or https."
            raise BadRequest(message, param=where, code="invalid_url")
    for index, item in enumerate(items):
        for member in ("content", "output"):
            parts = item.get(member)
            for number, part in enumerate(parts if isinstance(parts, list) else ()):
                if part.get("type") == "input_image" and "image_url" in part:
                    await check_image_url(part["image_url"], f"{param}[{index}].{member}[{number}].image_url")
                await pauses.pause_if_due()
