"""Authentication: from a request's key to its principal."""

import hashlib
import secrets
import time
from typing import Any, Protocol

from handlers.context import Limits, Principal
from handlers.errors import Unauthorized
from persistence.collections import API_KEYS
from persistence.retry import update_with_retry
from persistence.store import Document, Insert, Key, Replace, Store

SYSTEM = "system"
"""The project that holds the keys themselves; no key opens it."""

OPEN_PROJECT = "default"
CHALLENGE = {"WWW-Authenticate": "Bearer"}
CACHE_SECONDS = 5.0
CACHE_SIZE = 10_000


class Authenticator(Protocol):
    """Finds the principal of a request."""

    async def authenticate(self, authorization: bytes) -> Principal:
        """Return the principal of an Authorization header; raises Unauthorized."""


class OpenAuthenticator:
    """Accepts any key, or none, for one project."""

    def __init__(self, limits: Limits) -> None:
        self._principal = Principal(OPEN_PROJECT, limits=limits)

    async def authenticate(self, authorization: bytes) -> Principal:  # noqa: ARG002
        """Return the one principal."""
        return self._principal


class KeyAuthenticator:
    """Looks keys up in the store and remembers them for five seconds in this process."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._keys = KeyRing(store)
        self._limits = limits
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def authenticate(self, authorization: bytes) -> Principal:
        """Return the key's principal; a revoked key is refused within five seconds."""
        known = self._known.get(authorization)
        now = time.monotonic()
        if known is not None and now < known[1]:
            return known[0]
        secret = bearer(authorization)
        key = await self._keys.find(secret)
        if key is None:
            self._known.pop(authorization, None)
            raise Unauthorized(
                f"Incorrect API key provided: {mask(secret)}. Keys of this server are made by its operator "
                "with 'astrolabe keys create'.",
                headers=CHALLENGE,
            )
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        principal = Principal(key["project"], key["id"], limits=self._limits)
        self._known[authorization] = (principal, now + CACHE_SECONDS)
        return principal


class KeyRing:
    """The keys of a store: shown once when made, kept as a hash, each bound to a project."""

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

    async def find(self, secret: str) -> dict[str, Any] | None:
        """Return the key object of a secret; None if it is unknown or revoked."""
        document = await self._store.get(Key(SYSTEM, API_KEYS, fingerprint(secret)))
        if document is None or document.value["revoked_at"] is not None:
            return None
        return document.value

    async def all(self) -> list[dict[str, Any]]:
        """Every key as it may be shown, oldest first."""
        return [document.value for document in await self._documents()]

    async def revoke(self, id: str) -> bool:
        """Let a key open nothing any more; False if there is no such key."""
        for document in await self._documents():
            if document.value["id"] == id:
                value = {**document.value, "revoked_at": document.value["revoked_at"] or int(time.time())}
                await update_with_retry(self._store, document.key, lambda d, v=value: Replace(d, value=v))  # type: ignore[misc]
                return True
        return False

    async def _documents(self) -> list[Document]:
        found: list[Document] = []
        after = None
        while True:
            page = await self._store.page(SYSTEM, API_KEYS, after=after, limit=100, order="asc")
            found += page.documents
            if not page.has_more:
                return found
            after = found[-1].id


def bearer(authorization: bytes) -> str:
    """The key in an Authorization header; Unauthorized where there is none."""
    scheme, _, secret = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not secret.strip():
        raise Unauthorized(
            "You didn't provide an API key. Send it in the Authorization header, as the SDK does: "
            "Authorization: Bearer YOUR_KEY.",
            headers=CHALLENGE,
        )
    return secret.strip().decode("latin-1")


def fingerprint(secret: str) -> str:
    """What is kept of a key: SHA-256, enough for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def mask(secret: str) -> str:
    """A key as errors and lists may show it: first and last characters, stars between."""
    return f"{secret[:8]}{'*' * 8}{secret[-4:]}" if len(secret) > 16 else "*" * len(secret)
