"""The API keys of a store, which `astrolabe keys` manages and the authenticator looks up."""

import hashlib
import secrets
import time

from persistence.collections import API_KEYS, SYSTEM
from persistence.listing import pages
from persistence.retry import update_with_retry
from persistence.store import Document, Insert, Key, Replace, Store
from persistence.types import JSON

TENANT_PROJECT = "default"
"""The project of a database that is its tenant's own: another token for it finds the same objects."""


class KeyRing:
    """The keys of a store, each of one project; a key is shown once and stored as a hash."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, project: str, name: str = "") -> str:
        """Make a key for `project` and return it; it is shown nowhere again."""
        secret = f"sk-astrolabe-{secrets.token_urlsafe(32)}"
        digest = fingerprint(secret)
        value = {
            "id": f"key_{digest[:24]}",
            "object": "api_key",
            "project": project,
            "name": name,
            "hint": mask(secret),
            "created_at": int(time.time()),
            "revoked_at": None,
        }
        await self._store.write(Insert(Key(SYSTEM, API_KEYS, digest), value))
        return secret

    async def find(self, secret: str) -> JSON | None:
        """Return the key object of a secret; None if it is unknown or revoked."""
        document = await self._store.get(Key(SYSTEM, API_KEYS, fingerprint(secret)))
        if document is None or document.value["revoked_at"] is not None:
            return None
        return document.value

    async def all(self) -> list[JSON]:
        """Return every key as it may be shown, oldest first."""
        return [document.value for document in await self._documents()]

    async def revoke(self, id: str) -> bool:
        """Revoke a key; return False if there is none of that id."""
        for document in await self._documents():
            if document.value["id"] == id:
                value = {**document.value, "revoked_at": document.value["revoked_at"] or int(time.time())}
                await update_with_retry(self._store, document.key, lambda d, v=value: Replace(d, value=v))  # type: ignore[misc]
                return True
        return False

    async def _documents(self) -> list[Document]:
        return [document async for page in pages(self._store, SYSTEM, API_KEYS) for document in page]


def fingerprint(secret: str) -> str:
    """Return the hash under which a key is stored: SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def mask(secret: str) -> str:
    """Return a key as errors and lists may show it: stars, with the ends of a long key around them."""
    return f"{secret[:8]}{'*' * 8}{secret[-4:]}" if len(secret) > 16 else "*" * len(secret)


def tenant_project(token: bytes) -> str:
    """Return the project of a token's tenant; from its name the token cannot be told."""
    return f"astra_{hashlib.sha256(b'astrolabe.tenant:' + token).hexdigest()[:40]}"
