"""Callers' provider settings in the payloads of jobs, encrypted: they end with the job."""

import base64
import contextlib
import hmac
import os
from typing import Any

import orjson

from inference.errors import SettingsNotKept
from inference.gateway import CallerSettings
from persistence.types import JSON

CALLER = "caller"
"""The member of a payload; empty where the settings were kept in the memory of one worker only."""

NONCE_BYTES = 12


class Sealer:
    """Encrypts settings with AES-256-GCM, under a key that is derived from the operator's first secret.

    Any of the secrets decrypts. What one project's job holds cannot be opened for another project.
    """

    def __init__(self, *secrets: str) -> None:
        self._keys = [
            hmac.digest(secret.encode(), b"astrolabe: provider settings", "sha256") for secret in secrets
        ]

    @property
    def can_seal(self) -> bool:
        """Whether there is a secret."""
        return bool(self._keys)

    def seal(self, project: str, settings: CallerSettings) -> JSON:
        """Return the payload that holds the settings; SettingsNotKept without a secret."""
        if not self._keys:
            raise SettingsNotKept(
                "Work in the background needs your provider settings, which this server does not keep: its "
                "operator has set no ASTROLABE_SECRET. Stream the run, or leave out the settings' headers."
            )
        nonce = os.urandom(NONCE_BYTES)
        plain = orjson.dumps(settings.to_json())
        encrypted = _cipher(self._keys[0]).encrypt(nonce, plain, project.encode())
        return {CALLER: base64.b64encode(nonce + encrypted).decode()}

    def open(self, project: str, payload: JSON) -> CallerSettings | None:
        """Return the settings in a job's payload, None if it has none; SettingsNotKept if they are lost."""
        sealed = payload.get(CALLER)
        if sealed is None:
            return None
        if not sealed or not self._keys:
            raise SettingsNotKept("The caller's provider settings were lost with the worker that had them.")
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _cipher

        content = base64.b64decode(sealed)
        nonce, encrypted = content[:NONCE_BYTES], content[NONCE_BYTES:]
        for key in self._keys:
            with contextlib.suppress(InvalidTag):
                plain = _cipher(key).decrypt(nonce, encrypted, project.encode())
                return CallerSettings.from_json(orjson.loads(plain))
        raise SettingsNotKept(
            "The caller's provider settings cannot be decrypted: ASTROLABE_SECRET no longer has their secret."
        )


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - takes 50 ms

    return AESGCM(key)
