"""Check the URLs of images in messages, in time that a data URL of many megabytes allows."""

import re
import string
from urllib.parse import urlsplit

from handlers.errors import BadRequest

MAX_WEB_URL = 65_536
"""Characters of an http or https URL. A data URL is bounded by the request's body."""

_SCHEMES = ("http://", "https://", "data:image/")
_ALLOWED = (string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%").encode()
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def check_image_url(url: str, param: str) -> None:
    """Raise BadRequest unless `url` is a data URL of an image, or an http or https URL of bounded length."""
    scheme = next((scheme for scheme in _SCHEMES if url.startswith(scheme)), "")
    is_web = scheme.startswith("http")
    if not scheme or len(url) == len(scheme) or not _has_url_characters(url) or (is_web and not _is_web(url)):
        message = f"Invalid '{param}': expected a valid URL, of http, https or data."
        raise BadRequest(message, param=param, code="invalid_url")


def _has_url_characters(url: str) -> bool:
    # A regular expression takes a hundred times as long.
    return url.isascii() and not url.encode().translate(None, _ALLOWED)


def _is_web(url: str) -> bool:
    if len(url) > MAX_WEB_URL:
        return False
    try:
        urlsplit(url)
    except ValueError:  # brackets that hold no address
        return False
    return _BAD_ESCAPE.search(url) is None
