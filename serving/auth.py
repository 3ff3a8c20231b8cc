"""Authentication: from a request's key to its principal."""

import time
from typing import Protocol

from handlers.context import Limits, Principal
from handlers.errors import Unauthorized
from persistence.store import Store
from serving.keys import KeyRing, mask
from serving.request import Request

OPEN_PROJECT = "default"
CHALLENGE = {"WWW-Authenticate": "Bearer"}
CACHE_SECONDS = 5.0
CACHE_SIZE = 10_000


class Authenticator(Protocol):
    """Finds the principal of a request."""

    async def authenticate(self, request: Request) -> Principal:
        """Return the principal that the request's headers name; raises an ApiError."""


class OpenAuthenticator:
    """Accepts any key, or none, for one project."""

    def __init__(self, limits: Limits) -> None:
        self._principal = Principal(OPEN_PROJECT, limits=limits)

    async def authenticate(self, request: Request) -> Principal:  # noqa: ARG002
        """Return the one principal."""
        return self._principal


class KeyAuthenticator:
    """Looks keys up in the store and remembers them for five seconds in this process."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._keys = KeyRing(store)
        self._limits = limits
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def authenticate(self, request: Request) -> Principal:
        """Return the key's principal; a revoked key is refused within five seconds."""
        authorization = request.headers.raw(b"authorization")
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


def bearer(authorization: bytes) -> str:
    """Return the key in an Authorization header; raises Unauthorized if there is none."""
    scheme, _, secret = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not secret.strip():
        raise Unauthorized(
            "You didn't provide an API key. Send it in the Authorization header, as the SDK does: "
            "Authorization: Bearer YOUR_KEY.",
            headers=CHALLENGE,
        )
    return secret.strip().decode("latin-1")
