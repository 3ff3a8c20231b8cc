"""Remove provider keys from everything that clients see."""

import html
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from persistence.large_json import Pauses

MASK = "***"
SHORT = 8
"""Length below which a secret is only replaced where it is a word of its own."""

WINDOW = 256 * 1024
"""Bytes that are searched at once."""

OVERLAP = 16 * 1024
"""Bytes of the next window that are searched too: more than a secret takes, however it is escaped."""

_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")


class SecretsFilter:
    """Replaces a target's secrets, also those escaped for JSON, a URL or HTML."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._plain = [secret.encode() for secret in secrets]
        spelled = "|".join(map(_spelled, secrets))
        self._pattern = re.compile(spelled) if secrets else None
        needs_escape = any(not _PLAIN.fullmatch(secret) for secret in secrets)
        self._marks = (b"%", b"\\", b"&") if needs_escape else (b"%", b"\\u00", b"&#")

    def text(self, text: str) -> str:
        """Return `text` without the secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """Return JSON data without the secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def may_be_in(self, data: bytes) -> bool:
        """Return whether `data` may contain a secret in any spelling; fast."""
        for secret in self._plain:
            if secret in data:
                return True
        for mark in self._marks:
            if mark[:1] in data and mark in data:  # one byte is found ten times as fast as several
                pattern = self._pattern
                return pattern is not None and pattern.search(data.decode("utf-8", "replace")) is not None
        return False

    async def may_be_in_large(self, data: bytes) -> bool:
        """Return what `may_be_in` returns; other requests have their turn while a long text is searched."""
        pauses = Pauses()
        for start in range(0, len(data), WINDOW):
            if self.may_be_in(data[start : start + WINDOW + OVERLAP]):
                return True
            await pauses.pause_if_due()
        return False


@lru_cache(maxsize=256)
def secrets_filter(secrets: tuple[str, ...]) -> SecretsFilter:
    """Return the filter of these secrets, compiled once."""
    return SecretsFilter(secrets)


def _spelled(secret: str) -> str:
    spelled = "".join(map(_spellings, secret))
    return spelled if len(secret) >= SHORT else rf"(?<![A-Za-z0-9]){spelled}(?![A-Za-z0-9])"


def _spellings(character: str) -> str:
    code = ord(character)
    percent = "".join(f"%{byte:02x}" for byte in character.encode())
    escaped = "|".join({re.escape(character), re.escape(html.escape(character))})
    return rf"\\*(?:{escaped}|(?i:u{code:04x}|{percent}|&#0*{code};|&#x0*{code:x};))"
