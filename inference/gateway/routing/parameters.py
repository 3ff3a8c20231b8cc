"""The fields of a request that a route sets, forces or leaves out."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import structlog

from inference.errors import ProviderRejected
from inference.gateway.routing.models_file import FIXED
from inference.gateway.routing.targets import Target
from persistence.types import JSON

UNSUPPORTED = frozenset({"unknown_parameter", "unsupported_parameter", "unsupported_value"})
"""Codes of a provider that refuses a field of a request."""

NEWER_NAMES = {"max_tokens": "max_completion_tokens"}
"""Fields that newer models know under another name only."""

MOST = 1024
"""Deployments whose refused fields are remembered."""

MOST_REMEMBERED = 64
"""Fields of one deployment that are remembered; clients may make up names."""

MOST_DROPPED = 16
"""Fields of one request that are left out one after the other: each costs a request to the provider."""

Answer = TypeVar("Answer")

log = structlog.get_logger("astrolabe.gateway")


def with_parameters(request: JSON, target: Target) -> JSON:
    """Return the request with the route's default and forced fields, and without those that it drops.

    A forced field of None is one that is left out.
    """
    if not (target.default_fields or target.forced_fields or target.drop_fields):
        return request
    own = {name: value for name, value in request.items() if value is not None}
    fields = {**target.default_fields, **own, **target.forced_fields}
    return {name: value for name, value in fields.items() if name not in target.drop_fields}


def _without(request: JSON, names: Collection[str]) -> JSON:
    """Return the request without these fields; one that has a newer name is sent under that."""
    left = {name: value for name, value in request.items() if name not in names}
    for old, new in NEWER_NAMES.items():
        if old in names and old in request and new not in names:
            left.setdefault(new, request[old])
    return left


class UnsupportedFields:
    """Leaves out the fields that a provider does not support, where its route says so, and remembers them.

    A value that is refused is left out of that request only: another value may be supported.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, set[str]] = OrderedDict()

    def ask(
        self, target: Target, request: JSON, send: Callable[[Target, JSON], Awaitable[Answer]]
    ) -> Awaitable[Answer]:
        """Return the answer to the request as its route changes it, without the fields that are refused."""
        request = with_parameters(request, target)
        return self._ask(target, request, send) if target.drops_unsupported else send(target, request)

    async def _ask(
        self, target: Target, request: JSON, send: Callable[[Target, JSON], Awaitable[Answer]]
    ) -> Answer:
        known = self._known.get(target.key, set())
        request = _without(request, known)
        for _ in range(MOST_DROPPED):
            try:
                return await send(target, request)
            except ProviderRejected as exc:
                name = self._refused(exc, request)
                if name is None:
                    raise
                log.info("unsupported_field_dropped", deployment=target.key, field=name)
                if exc.body.get("code") != "unsupported_value":
                    self._remember(target.key, name)
                request = _without(request, {name})
        return await send(target, request)

    def _refused(self, error: ProviderRejected, request: JSON) -> str | None:
        """Return the field that an error says is not supported, if it may be left out."""
        if error.status not in (400, 422) or error.body.get("code") not in UNSUPPORTED:
            return None
        name = str(error.body.get("param") or "").partition(".")[0].partition("[")[0]
        return name if name in request and name not in FIXED else None

    def _remember(self, key: str, name: str) -> None:
        known = self._known.setdefault(key, set())
        if len(known) < MOST_REMEMBERED:
            known.add(name)
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
