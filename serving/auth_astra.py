"""Authentication of the Astra Assistants API: a database token is both the credential and the tenant."""

import re

from handlers.context import Limits, Principal
from handlers.errors import BadRequest, Forbidden, Unauthorized
from serving.auth import CACHE_SIZE
from serving.keys import TENANT_PROJECT, tenant_project
from serving.request import Request
from serving.tenants import Tenants

TOKEN = "astra-api-token"  # noqa: S105 - the header's name
DATABASE = "astra-db-id"

STATELESS = frozenset(
    {
        "create_chat_completion",
        "create_completion",
        "create_embedding",
        "create_moderation",
        "list_models",
        "retrieve_model",
    }
)
"""Operations that need no database: `astra-assistants` calls them with a provider's key alone."""

TOKEN_FORM = re.compile(rb"[!-~]{1,1024}")
DATABASE_FORM = re.compile(rb"[0-9A-Za-z-]{1,64}")


class AstraAuthenticator:
    """Takes any token: its tenant is a project that only this token opens. The token is stored nowhere."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[bytes, Principal] = {}

    async def authenticate(self, request: Request) -> Principal:
        """Return the token's tenant; raises Forbidden without a token, Unauthorized for what is none.

        An operation that needs no database takes the caller's provider key instead, which it asks with.
        """
        database_of(request)
        known = self._known.get(request.headers.raw(b"astra-api-token"))
        if known is not None:
            return known
        if key := stateless_key(request):
            return stateless_principal(key, self._limits)
        token = token_of(request)
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        principal = Principal(tenant_project(token), limits=self._limits, is_astra=True)
        self._known[token] = principal
        return principal


class AstraDatabaseAuthenticator:
    """Takes tokens that open a database: the tenant is the store of token and database."""

    def __init__(self, limits: Limits, tenants: Tenants) -> None:
        self._limits = limits
        self._tenants = tenants

    async def authenticate(self, request: Request) -> Principal:
        """Return the token's tenant; the request holds its store until it ends."""
        if key := stateless_key(request):
            return stateless_principal(key, self._limits)
        token, database = token_of(request), database_of(request)
        tenant, services = await self._tenants.hold(token.decode("ascii"), database)
        request.release = tenant.release
        return Principal(
            TENANT_PROJECT, limits=self._limits, is_astra=True, services=services, tenant=tenant.name
        )


def stateless_key(request: Request) -> bytes:
    """Return the provider's key of a request without a token, if it needs no database; else nothing."""
    headers, route = request.headers, request.route
    if headers.raw(b"astra-api-token") or route is None or route.operation.name not in STATELESS:
        return b""
    key = headers.raw(b"api-key") or headers.raw(b"authorization")
    return b"key:" + key if key else b""


def stateless_principal(key: bytes, limits: Limits) -> Principal:
    """Return the caller who is known by a provider's key only."""
    return Principal(tenant_project(key), limits=limits, is_astra=True, has_store=False)


def token_of(request: Request) -> bytes:
    """Return the request's token; raises Forbidden or Unauthorized, which do not show it."""
    token = request.headers.raw(b"astra-api-token")
    if not token:
        raise Forbidden(
            f"The header '{TOKEN}' is missing: send an Astra DB token in it, such as AstraCS:…",
            code="missing_token",
        )
    if TOKEN_FORM.fullmatch(token) is None:
        raise Unauthorized(
            f"The header '{TOKEN}' is not a token: it has {len(token)} bytes, where a token is up to 1,024 "
            "printable ASCII characters without spaces.",
        )
    return token


def database_of(request: Request) -> str:
    """Return the id of the database that the request names, or nothing; raises BadRequest."""
    database = request.headers.raw(b"astra-db-id")
    if database and DATABASE_FORM.fullmatch(database) is None:
        raise BadRequest(
            f"The header '{DATABASE}' is not the id of a database: it has up to 64 letters, digits and "
            "hyphens, as Astra's portal shows it.",
            code="invalid_header",
        )
    return database.decode("ascii")
