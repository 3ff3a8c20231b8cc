"""Check the URLs of images in messages, in time that a data URL of many megabytes allows."""

import asyncio
import re
import string
from urllib.parse import urlsplit

from handlers.errors import BadRequest

MAX_WEB_URL = 65_536
"""Characters of an http or https URL. A data URL is bounded by the request's body."""

SLICE = 256 * 1024
"""Characters that are looked at in one call."""

_SCHEMES = ("http://", "https://", "data:image/")
_ALLOWED = (string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%").encode()
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


async def check_image_url(url: str, param: str) -> None:
    """Raise BadRequest unless `url` is a data URL of an image, or an http or https URL of bounded length."""
    is_valid = _is_valid(url) if len(url) <= SLICE else await asyncio.to_thread(_is_valid, url)
    if not is_valid:
        message = f"Invalid '{param}': expected a valid URL, of http, https or data."
        raise BadRequest(message, param=param, code="invalid_url")


def _is_valid(url: str) -> bool:
    scheme = next((scheme for scheme in _SCHEMES if url.startswith(scheme)), "")
    is_web = scheme.startswith("http")
    return len(url) > len(scheme) > 0 and (not is_web or _is_web(url)) and _has_url_characters(url)


def _has_url_characters(url: str) -> bool:
    # A regular expression takes a hundred times as long. A slice at a time, other threads get their turns.
    return url.isascii() and not any(
        url[start : start + SLICE].encode().translate(None, _ALLOWED) for start in range(0, len(url), SLICE)
    )


def _is_web(url: str) -> bool:
    if len(url) > MAX_WEB_URL:
        return False
    try:
        urlsplit(url)
    except ValueError:  # brackets that hold no address
        return False
    return _BAD_ESCAPE.search(url) is None
