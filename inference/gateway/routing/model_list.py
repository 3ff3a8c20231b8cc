"""The models that routes serve, as OpenAI's model objects."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from inference.errors import ModelNotFound, ProviderError, ProviderUnreadable
from inference.gateway import failures
from inference.gateway.answers import fields
from inference.gateway.callers import Credentials
from inference.gateway.routing.routes import Route, Routes
from persistence.types import JSON

NO_LIST = frozenset({404, 405, 501})
"""Statuses of a provider that does not list its models."""

Ask = Callable[[Route, Credentials | None], Awaitable[JSON]]
"""Returns the answer of a route's provider to `GET /models`; raises a ProviderError."""

log = structlog.get_logger("astrolabe.gateway")


class ModelList:
    """Lists the models of all routes; for a pattern it asks the provider which ones match."""

    def __init__(self, routes: Routes, ask: Ask) -> None:
        self._routes = routes
        self._ask = ask

    async def served(self, credentials: Credentials | None) -> list[JSON]:
        """Return every model that is known; a provider that does not answer is left out and logged."""
        routes = self._routes.routes.values()
        named = [self._model(route.name, route) for route in routes if not route.is_pattern]
        found = {model["id"]: model for model in named}
        patterns = [self._reachable(route, credentials) for route in routes if _has_list(route)]
        for models in await asyncio.gather(*patterns):
            for model in models:
                found.setdefault(model["id"], model)
        return list(found.values())

    async def retrieve(self, name: str, credentials: Credentials | None) -> JSON:
        """Return the model of that name; raise ModelNotFound, or the error of the provider asked."""
        self._routes.find(name)
        if name in self._routes.routes:
            return self._model(name, self._routes.routes[name])
        failed: ProviderError | None = None
        for route in self._routes.patterns(name):
            if not _has_list(route):
                return self._model(name, route)
            try:
                models = await self.matching(route, credentials)
            except ProviderError as exc:
                if exc.status in NO_LIST or isinstance(exc, ProviderUnreadable):
                    return self._model(name, route)
                failed = failed or exc
                continue
            for model in models:
                if model["id"] == name:
                    return model
        if failed is not None:
            raise failed
        raise ModelNotFound(name)

    async def _reachable(self, route: Route, credentials: Credentials | None) -> list[JSON]:
        try:
            return await self.matching(route, credentials)
        except ProviderError as exc:
            provider = route.targets[0].provider
            log.warning("models_unavailable", provider=provider, route=route.name, reason=exc.message)
            return []

    async def matching(self, route: Route, credentials: Credentials | None) -> list[JSON]:
        """Return the provider's models that match a pattern, by the names that they have here."""
        data = (await self._ask(route, credentials)).get("data")
        if not isinstance(data, list):
            raise failures.unreadable("it is not a list of models")
        models = []
        for model in data:
            model = {"id": model} if isinstance(model, str) else model  # noqa: PLW2901
            id = model.get("id") if isinstance(model, dict) else None
            name = _alias(route.name, route.targets[0].model, id)
            if name is not None:
                models.append(self._listed(name, route, model))
        return models

    def _listed(self, name: str, route: Route, model: JSON) -> JSON:
        own = self._model(name, route)
        created = fields.timestamp(model.get("created"))
        owned_by = model.get("owned_by")
        return {
            **own,
            **model,
            "id": name,
            "object": "model",
            "created": own["created"] if created is None else created,
            "owned_by": owned_by if isinstance(owned_by, str) else own["owned_by"],
        }

    def _model(self, name: str, route: Route) -> JSON:
        owner = route.targets[0].provider
        return {"id": name, "object": "model", "created": self._routes.created, "owned_by": owner}


def _has_list(route: Route) -> bool:
    """Return whether the provider behind a pattern can list what matches it."""
    target = route.targets[0]
    return route.is_pattern and target.wire == "openai" and "*" in target.model


def _alias(pattern: str, upstream: str, id: Any) -> str | None:
    """Return the name by which `pattern` serves the provider's model `id`, or None if it does not."""
    before, star, after = upstream.partition("*")
    if not isinstance(id, str) or not star or not id.startswith(before) or not id.endswith(after):
        return None
    return pattern.replace("*", id[len(before) : len(id) - len(after)])
