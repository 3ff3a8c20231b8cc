"""Which models a gateway serves, and what is known of them."""

import asyncio
import re
from contextlib import aclosing
from functools import lru_cache
from urllib.parse import urlsplit

from inference.errors import ModelNotFound
from inference.gateway import failures
from inference.gateway.answers import normalize
from inference.gateway.callers import Credentials
from inference.gateway.driver import ProviderRequest
from inference.gateway.paths import MODELS
from inference.gateway.routing.asking import Asking
from inference.gateway.routing.known_models import KnownModels
from inference.gateway.routing.model_list import ModelList
from inference.gateway.routing.routes import Route, Routes
from inference.gateway.sender import Sender
from persistence.types import JSON

DEFAULT_CONTEXT_WINDOW = 8192

FINE_TUNED = re.compile(r"(?:^|/)ft:|:ft-")
"""What the names of fine-tuned models have: `ft:gpt-4o:acme::id`, and `davinci:ft-acme-2023` of old ones."""

LIST_TIMEOUT = 10.0
"""Seconds for a provider's list of models."""


class ServedModels:
    """The models of a gateway's routes; the names are those that callers send."""

    def __init__(self, routes: Routes, asking: Asking, sender: Sender) -> None:
        self._asking = asking
        self._sender = sender
        self._known = KnownModels()
        self._use(routes)

    def _use(self, routes: Routes) -> None:
        self.routes = routes
        self._find = lru_cache(maxsize=1024)(routes.find)
        self._models = ModelList(routes, self._provider_models)

    def check_model(self, name: str) -> None:
        """Raise ModelNotFound if no route serves that name; no provider is asked."""
        self._find(name)

    def fine_tuned_names(self, model: str) -> tuple[str, ...]:
        """Return what providers call a fine-tuned model that only a pattern serves, () for all others.

        A route whose own name is a fine-tuned model's, or a pattern of such names, is the operator's word
        that every project may use it.
        """
        if FINE_TUNED.search(model) is None:
            return ()
        try:
            route = self._find(model)
        except ModelNotFound:
            return ()
        if FINE_TUNED.search(route.name) is not None:
            return ()
        return tuple(dict.fromkeys(target.model for target in route.targets))

    async def list_models(self, credentials: Credentials | None = None) -> list[JSON]:
        """Return the models of all routes, and for each pattern the provider's models that match it.

        A provider that does not answer is left out and logged.
        """
        return await self._models.served(credentials)

    async def retrieve_model(self, name: str, credentials: Credentials | None = None) -> JSON:
        """Return a model that is served; raise ModelNotFound, or the error of the provider asked.

        A name that matches a pattern is a model if the provider lists it, or has no list of models.
        """
        return await self._models.retrieve(name, credentials)

    async def provider_models(self, route: Route) -> list[JSON]:
        """Return the models of a pattern's provider that match it, or raise the provider's error."""
        return await self._models.matching(route, None)

    async def _provider_models(self, route: Route, credentials: Credentials | None) -> JSON:
        target = self._asking.with_credentials(route, credentials).targets[0]
        try:
            async with asyncio.timeout(LIST_TIMEOUT):
                response = await self._sender.send(target, ProviderRequest("GET", MODELS))
                async with aclosing(response):
                    return normalize.parsed(target, await response.read())
        except TimeoutError as exc:
            raise failures.timed_out(LIST_TIMEOUT) from exc

    @property
    def accepts_credentials(self) -> bool:
        """Whether callers may bring their own credentials."""
        return self._asking.policy.accepts_credentials

    def uses_credentials(self, model: str) -> bool:
        """Return whether a caller's credentials matter for a model: local ones need none."""
        return self.accepts_credentials and any(one.wire != "local" for one in self._find(model).targets)

    def provider_of(self, model: str, credentials: Credentials | None = None) -> str:
        """Return a name of the providers of a model's deployments, "" for none."""
        try:
            targets = self._asking.find(self._find, model, credentials).targets
        except ModelNotFound:
            return ""
        named = (
            f"{target.provider} {urlsplit(target.base_url).hostname or ''}".strip() for target in targets
        )
        return ", ".join(dict.fromkeys(named))

    def default_embedding_model(self) -> str | None:
        """Return the model that embeds vector stores; None if search is BM25 alone."""
        return self.routes.embedding_model

    def context_window(self, model: str) -> int:
        """Return the tokens of the model's context window, of prompt and completion together."""
        return self.known_context_window(model) or DEFAULT_CONTEXT_WINDOW

    def known_context_window(self, model: str) -> int | None:
        """Return the model's context window from the routes or from litellm's table, else None.

        Of several deployments the smallest counts.
        """
        try:
            targets = self._find(model).targets
        except ModelNotFound:
            return None
        return self._known.smallest_window(targets)

    def reads_images(self, model: str) -> bool:
        """Return whether all deployments of a model are known to read images."""
        try:
            return self._known.read_images(self._find(model).targets)
        except ModelNotFound:
            return False
