"""URLs as logs and errors show them: without secrets."""

import re
from pathlib import Path
from urllib.parse import urlsplit

USER_INFO = re.compile(r"(?<=//)([^/@:?#]*:)?[^/@?#]+(?=@)")
SECRET_PARAMETER = re.compile(
    r"((?<=[?&])[^=&#]*(?:auth|key|password|secret|sig|token)[^=&#]*=)[^&#]+", re.IGNORECASE
)


def without_secrets(url: str) -> str:
    """Return a URL with stars for its password and for parameters that are secret by their name."""
    return SECRET_PARAMETER.sub(r"\1***", USER_INFO.sub(r"\1***", url))


def shown_store(url: str) -> str:
    """Return a store's URL without secrets; a relative path of SQLite's is made absolute."""
    parts = urlsplit(url)
    path = parts.path.removeprefix("/")
    if parts.scheme != "sqlite" or not path or path.startswith("/"):
        return without_secrets(url)
    return f"sqlite:///{Path(path).resolve()}"
