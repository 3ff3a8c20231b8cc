"""Routes: which deployments serve which name, and what answers in their stead."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import HttpUrl, TypeAdapter, ValidationError

from inference.errors import ModelNotFound, RoutesRefused
from inference.gateway.routing.targets import Target, Wire
from inference.local import weights
from inference.local.models import CONTEXT_WINDOW
from inference.yaml_file import FileStamp

LOCAL_CHAT = "local"
LOCAL_EMBEDDING = "local-embedding"
OPENAI = "https://api.openai.com/v1"
SHOWN = 5
"""Names that the summary shows."""

Kind = Literal["chat", "embedding"]
Strategy = Literal["weighted", "least_busy", "lowest_latency"]
ErrorClass = Literal["context_window", "content_policy", "rate_limit", "server_error", "default"]

DEFAULT: ErrorClass = "default"
OWN_ONLY = frozenset({"context_window", "content_policy"})
"""Classes of errors that fall back only where a route lists fallbacks for them: the request is at fault."""


@dataclass(frozen=True, slots=True)
class Route:
    """One name, or pattern with a `*`, with its deployments, and fallbacks by the class of the error."""

    name: str
    kind: Kind
    targets: tuple[Target, ...]
    fallbacks: Mapping[ErrorClass, tuple[str, ...]] = field(default_factory=dict, hash=False)
    strategy: Strategy = "weighted"
    has_affinity: bool = True

    @property
    def is_pattern(self) -> bool:
        """Whether the name has a `*`."""
        return "*" in self.name

    @property
    def has_choice(self) -> bool:
        """Whether something else may answer than the first deployment."""
        return len(self.targets) > 1 or bool(self.fallbacks)

    def match(self, model: str, provider: str = "") -> "Route | None":  # noqa: ARG002
        """Return the route for `model`, or None if the name does not match.

        `provider` is what a caller said beside the name, for routes that send it to any provider.
        """
        if not self.is_pattern:
            return self if model == self.name else None
        before, _, after = self.name.partition("*")
        fits = model.startswith(before) and model.endswith(after) and len(model) > len(before) + len(after)
        if not fits:
            return None
        part = model[len(before) : len(model) - len(after)]
        return replace(self, targets=tuple(target.for_model(part) for target in self.targets))

    def fallbacks_for(self, error_class: ErrorClass | None) -> tuple[str, ...]:
        """Return the names that answer after an error of this class; None is an error that all would give."""
        if error_class is None:
            return ()
        own = self.fallbacks.get(error_class)
        if own is None and error_class not in OWN_ONLY:
            own = self.fallbacks.get(DEFAULT)
        return own or ()


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes of a server; never changed, but replaced as a whole when models.yaml is read again.

    `stamp` says which version of the file they are from.
    """

    routes: Mapping[str, Route]
    embedding_model: str | None = None
    created: int = 0
    hint: str = ""
    stamp: FileStamp | None = None

    @classmethod
    def from_file(cls, path: Path, environment: Mapping[str, str]) -> "Routes":
        """Read a models.yaml; `${NAME}` in its values comes from `environment`.

        RoutesRefused names the file, the line and the reason.
        """
        from inference.gateway.routing.models_file import read_routes  # noqa: PLC0415 - it imports this module

        return read_routes(path, environment)

    @classmethod
    def from_environment(cls, api_key: str | None, base_url: str | None) -> "Routes":
        """Return routes that send every name unchanged to one provider that speaks OpenAI's API."""
        base_url = base_url or OPENAI
        try:
            TypeAdapter(HttpUrl).validate_python(base_url)
        except ValidationError as exc:
            raise RoutesRefused(f"OPENAI_BASE_URL: {exc.errors()[0]['msg']}: {base_url!r}") from None
        provider = "openai" if base_url == OPENAI else "provider"
        target = Target(provider, "openai", "*", base_url=base_url.rstrip("/"), api_key=api_key or None)
        embedding_model = "text-embedding-3-small" if base_url == OPENAI else None
        return cls({"*": Route("*", "chat", (target,))}, embedding_model, created=int(time.time()))

    def with_embedding_model(self, found: str | None, missing: Collection[str]) -> "Routes":
        """Return the routes with the embedding model that was found, else with the local one.

        Without its packages, which are `missing`, there is none.
        """
        if found is not None:
            return replace(self, embedding_model=found)
        if _NEEDS[LOCAL_EMBEDDING] & set(missing):
            return self
        embedding = Target("local", "local", LOCAL_EMBEDDING, attempts=1)
        routes = {**self.routes, LOCAL_EMBEDDING: Route(LOCAL_EMBEDDING, "embedding", (embedding,))}
        return replace(self, routes=routes, embedding_model=LOCAL_EMBEDDING)

    @classmethod
    def local(cls, missing: Collection[str] = ()) -> "Routes":
        """Return the routes of a server without a provider: the local models.

        A model whose packages are `missing` is not served; the error of a request for it names them.
        """
        chat = Target("local", "local", LOCAL_CHAT, context_window=CONTEXT_WINDOW, attempts=1)
        embedding = Target("local", "local", LOCAL_EMBEDDING, attempts=1)
        routes = {
            LOCAL_CHAT: Route(LOCAL_CHAT, "chat", (chat,)),
            LOCAL_EMBEDDING: Route(LOCAL_EMBEDDING, "embedding", (embedding,)),
        }
        hint = "No provider is configured: set OPENAI_API_KEY, or ASTROLABE_MODELS to a models.yaml."
        if missing:
            hint += f" The local models lack {', '.join(missing)}."
            routes = {name: route for name, route in routes.items() if not _NEEDS[name] & set(missing)}
        embedding_model = LOCAL_EMBEDDING if LOCAL_EMBEDDING in routes else None
        return cls(routes, embedding_model, created=1_730_419_200, hint=hint)

    def find(self, model: str, provider: str = "") -> Route:
        """Return the route of `model`, by its own name or the longest pattern; raise ModelNotFound."""
        if (route := self.routes.get(model)) is not None and not route.is_pattern:
            return route
        for route in self.patterns(model):
            if (found := route.match(model, provider)) is not None:
                return found
        served = ", ".join(list(self.routes)[:20]) or "no model"
        raise ModelNotFound(model, f"This server serves {served}. {self.hint}".strip())

    def summary(self) -> dict[str, str]:
        """Return what an operator sees at start-up: the first names with their providers, and a hint."""
        served = [f"{route.name} ({_providers(route)})" for route in self.routes.values()]
        more = f" and {len(served) - SHOWN} more: see `astrolabe models`" if len(served) > SHOWN else ""
        return {
            "models": ", ".join(served[:SHOWN]) + more or "none",
            "embedding": self.embedding_model or "none: vector stores are searched by words alone",
            "hint": self.hint,
        }

    def patterns(self, model: str) -> list[Route]:
        """Return the patterns that match `model`, the longest first."""
        matching = [route for route in self.routes.values() if route.is_pattern and route.match(model)]
        return sorted(matching, key=lambda route: len(route.name), reverse=True)

    def wires(self) -> frozenset[Wire]:
        """Return the wires that these routes need."""
        return frozenset(target.wire for route in self.routes.values() for target in route.targets)

    @property
    def are_callers(self) -> bool:
        """Whether callers' own accounts are asked, so that nothing of the machine's may be used."""
        return any(target.is_callers for route in self.routes.values() for target in route.targets)

    @property
    def have_choices(self) -> bool:
        """Whether any route has another deployment or a fallback."""
        return any(route.has_choice for route in self.routes.values())


_NEEDS = {
    LOCAL_CHAT: {*weights.RUNTIMES[weights.CHAT_PACKAGE], weights.CHAT_PACKAGE},
    LOCAL_EMBEDDING: {*weights.RUNTIMES[weights.EMBEDDING_PACKAGE], weights.EMBEDDING_PACKAGE},
}
"""The packages that each local model needs."""


def _providers(route: Route) -> str:
    return ", ".join(dict.fromkeys(target.provider for target in route.targets))
