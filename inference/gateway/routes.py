"""models.yaml: which provider's model serves which name. `models.example.yaml` shows every key."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, HttpUrl, TypeAdapter, ValidationError

from inference.errors import ModelNotFound, RoutesRefused
from inference.gateway.targets import Target, UnknownFields, Wire
from inference.local import weights
from inference.local.models import CONTEXT_WINDOW
from inference.yaml_file import Entry, YamlFile

LOCAL_CHAT = "local"
LOCAL_EMBEDDING = "local-embedding"
OPENAI = "https://api.openai.com/v1"
SHOWN = 5
"""Names that the summary shows."""

Kind = Literal["chat", "embedding"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(gt=0)]
Retries = Annotated[int, Field(ge=0, le=10)]


class Provider(Entry):
    """One account at one provider, and the defaults of its models."""

    wire: Wire = "openai"
    base_url: HttpUrl | None = None
    api_key: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, str | bool | int | float] = Field(default_factory=dict)
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 600.0
    retries: Retries = 2
    max_inputs: Count | None = None
    max_input_tokens: Count | None = None
    unknown_fields: UnknownFields | None = None


class Model(Entry):
    """One name that clients may ask for; a `*` in it matches anything, and in `model` stands for that."""

    provider: str
    model: str | None = None
    kind: Kind = "chat"
    fallbacks: list[str] = Field(default_factory=list)
    context_window: Count | None = None
    read_timeout: Seconds | None = None
    retries: Retries | None = None
    max_inputs: Count | None = None
    max_input_tokens: Count | None = None
    unknown_fields: UnknownFields | None = None


class _File(Entry):
    providers: dict[str, Provider] = Field(default_factory=dict)
    models: Annotated[dict[str, Model], Field(min_length=1)]
    embedding_model: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One name, or pattern with a `*`, with its target and fallbacks."""

    name: str
    kind: Kind
    targets: tuple[Target, ...]

    @property
    def is_pattern(self) -> bool:
        """Whether the name has a `*`."""
        return "*" in self.name

    def match(self, model: str, provider: str = "") -> tuple[Target, ...] | None:  # noqa: ARG002
        """Return the targets for `model`, or None if the name does not match.

        `provider` is what a caller said beside the name, for routes that send it to any provider.
        """
        if not self.is_pattern:
            return self.targets if model == self.name else None
        before, _, after = self.name.partition("*")
        fits = model.startswith(before) and model.endswith(after) and len(model) > len(before) + len(after)
        if not fits:
            return None
        part = model[len(before) : len(model) - len(after)]
        first = replace(self.targets[0], model=self.targets[0].model.replace("*", part))
        return (first, *self.targets[1:])


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes of a server, read once at start-up."""

    routes: Mapping[str, Route]
    embedding_model: str | None = None
    created: int = 0
    hint: str = ""

    @classmethod
    def from_file(cls, path: Path, environment: Mapping[str, str]) -> "Routes":
        """Read a models.yaml; `${NAME}` in its values comes from `environment`.

        RoutesRefused names the file, the line and the reason.
        """
        document = YamlFile.read(path, environment, RoutesRefused)
        file = document.parsed(_File)
        return _routes(file, document)

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

    def find(self, model: str, provider: str = "") -> tuple[Target, ...]:
        """Return the targets of `model`, by its own name or the longest pattern; raise ModelNotFound."""
        if (route := self.routes.get(model)) is not None and not route.is_pattern:
            return route.targets
        for route in self.patterns(model):
            if (targets := route.match(model, provider)) is not None:
                return targets
        served = ", ".join(list(self.routes)[:20]) or "no model"
        raise ModelNotFound(model, f"This server serves {served}. {self.hint}".strip())

    def summary(self) -> dict[str, str]:
        """Return what an operator sees at start-up: the first names with their providers, and a hint."""
        served = [f"{route.name} ({route.targets[0].provider})" for route in self.routes.values()]
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


_NEEDS = {
    LOCAL_CHAT: {*weights.RUNTIMES[weights.CHAT_PACKAGE], weights.CHAT_PACKAGE},
    LOCAL_EMBEDDING: {*weights.RUNTIMES[weights.EMBEDDING_PACKAGE], weights.EMBEDDING_PACKAGE},
}
"""The packages that each local model needs."""


def _routes(file: _File, document: YamlFile) -> Routes:
    firsts = {name: _target(name, model, file, document) for name, model in file.models.items()}
    routes = {}
    for name, model in file.models.items():
        for place, fallback in enumerate(model.fallbacks):
            if fallback not in firsts or "*" in fallback:
                where = ("models", name, "fallbacks", place)
                raise document.refused(where, f"'{fallback}' is not a name under models")
        targets = (firsts[name], *(firsts[fallback] for fallback in model.fallbacks))
        routes[name] = Route(name, model.kind, targets)
    found = Routes(routes, file.embedding_model, created=document.modified)
    if file.embedding_model is not None:
        try:
            found.find(file.embedding_model)
        except ModelNotFound as exc:
            reason = f"'{file.embedding_model}' is not a name under models"
            raise document.refused(("embedding_model",), reason) from exc
    return found


def _target(name: str, model: Model, file: _File, document: YamlFile) -> Target:
    where = ("models", name)
    provider = file.providers.get(model.provider)
    if provider is None and model.provider == "local":
        provider = Provider(wire="local")
    if provider is None:
        raise document.refused((*where, "provider"), f"'{model.provider}' is not a name under providers")
    if name.count("*") > 1:
        raise document.refused(where, "a name can have only one '*'")
    upstream = model.model or name
    if "*" in upstream and "*" not in name:
        raise document.refused((*where, "model"), "a '*' here needs one in the name")
    if provider.wire == "local":
        upstream = LOCAL_EMBEDDING if model.kind == "embedding" else LOCAL_CHAT
    retries = provider.retries if model.retries is None else model.retries
    base_url = str(provider.base_url).rstrip("/") if provider.base_url else ""
    return Target(
        provider=model.provider,
        wire=provider.wire,
        model=upstream,
        base_url=base_url or (OPENAI if provider.wire in ("openai", "responses") else ""),
        api_key=provider.api_key,
        headers=tuple(provider.headers.items()),
        parameters=tuple(provider.parameters.items()),
        connect_timeout=provider.connect_timeout,
        read_timeout=model.read_timeout or provider.read_timeout,
        attempts=retries + 1,
        max_inputs=model.max_inputs or provider.max_inputs,
        max_input_tokens=model.max_input_tokens or provider.max_input_tokens,
        unknown_fields=model.unknown_fields or provider.unknown_fields,
        context_window=model.context_window or (CONTEXT_WINDOW if provider.wire == "local" else None),
    )
