"""Who asks: the key of a request, and the project that it opens."""

import hashlib
import secrets
import time
from typing import Any, Protocol

from handlers.errors import Unauthorized
from persistence.store import Document, Insert, Key, Replace, Store

SYSTEM = "system"
"""The project that holds the keys themselves; no key opens it."""

COLLECTION = "api_keys"
OPEN_PROJECT = "default"
CACHE_SECONDS = 5.0
CACHE_SIZE = 10_000


class Authenticator(Protocol):
    """Finds the project that a request's Authorization header opens."""

    async def project(self, authorization: bytes) -> str:
        """The project's name; Unauthorized where the key opens none."""


class OpenAuthenticator:
    """Lets everybody into one project, with any key or none."""

    async def project(self, authorization: bytes) -> str:  # noqa: ARG002
        """The one project."""
        return OPEN_PROJECT


class KeyAuthenticator:
    """Asks the store for the key's hash; what it said holds for five seconds in this process."""

    def __init__(self, store: Store) -> None:
        self._keys = KeyRing(store)
        self._known: dict[bytes, tuple[str, float]] = {}

    async def project(self, authorization: bytes) -> str:
        """The project that the key was made for; a revoked key is refused within five seconds."""
        known = self._known.get(authorization)
        now = time.monotonic()
        if known is not None and now < known[1]:
            return known[0]
        secret = bearer(authorization)
        project = await self._keys.project_of(secret)
        if project is None:
            self._known.pop(authorization, None)
            raise Unauthorized(
                f"Incorrect API key provided: {mask(secret)}. Keys of this server are made by its operator "
                "with 'astrolabe keys create'."
            )
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        self._known[authorization] = (project, now + CACHE_SECONDS)
        return project


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
        await self._store.write(Insert(Key(SYSTEM, COLLECTION, digest), value))
        return secret

    async def project_of(self, secret: str) -> str | None:
        """The project of a key, None if it is unknown or revoked."""
        document = await self._store.get(Key(SYSTEM, COLLECTION, fingerprint(secret)))
        if document is None or document.value["revoked_at"] is not None:
            return None
        return str(document.value["project"])

    async def all(self) -> list[dict[str, Any]]:
        """Every key as it may be shown, oldest first."""
        return [document.value for document in await self._documents()]

    async def revoke(self, id: str) -> bool:
        """Let a key open nothing any more; False if there is no such key."""
        for document in await self._documents():
            if document.value["id"] == id:
                value = {**document.value, "revoked_at": document.value["revoked_at"] or int(time.time())}
                await self._store.update(document.key, lambda d, v=value: Replace(d, value=v))  # type: ignore[misc]
                return True
        return False

    async def _documents(self) -> list[Document]:
        found: list[Document] = []
        after = None
        while True:
            page = await self._store.page(SYSTEM, COLLECTION, after=after, limit=100, order="asc")
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
        )
    return secret.strip().decode("latin-1")


def fingerprint(secret: str) -> str:
    """What is kept of a key: SHA-256, enough for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def mask(secret: str) -> str:
    """A key as errors and lists may show it: first and last characters, stars between."""
    return f"{secret[:8]}{'*' * 8}{secret[-4:]}" if len(secret) > 16 else "*" * len(secret)
