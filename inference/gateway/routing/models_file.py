"""models.yaml: which deployments serve which name. `models.example.yaml` shows every key."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, HttpUrl

from inference.errors import ModelNotFound, RoutesRefused
from inference.gateway.routing.routes import (
    DEFAULT,
    LOCAL_CHAT,
    LOCAL_EMBEDDING,
    OPENAI,
    ErrorClass,
    Kind,
    Route,
    Routes,
    Strategy,
)
from inference.gateway.routing.targets import CooldownRule, Target, UnknownFields, Wire, is_secret
from inference.local.models import CONTEXT_WINDOW
from inference.yaml_file import Entry, Where, YamlFile

FIXED = frozenset({"input", "messages", "model", "prompt", "stream"})
"""Fields that no route sets or drops."""

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Characters that no header's value may have."""

LONGEST_CHAIN = 20
"""Names that a request may go through by the fallbacks of its fallbacks."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(gt=0)]
Retries = Annotated[int, Field(ge=0, le=10)]


class Cooldown(Entry):
    """When a deployment that fails is left alone, and for how long."""

    failures: Annotated[int, Field(ge=1, le=1000)] = 3
    window: Seconds = 60.0
    seconds: Seconds = 30.0


class Options(Entry):
    """What can be set for a provider, for one of its models and for one deployment; the last one counts."""

    connect_timeout: Seconds | None = None
    first_byte_timeout: Seconds | None = None
    read_timeout: Seconds | None = None
    total_timeout: Seconds | None = None
    retries: Retries | None = None
    max_inputs: Count | None = None
    max_input_tokens: Count | None = None
    unknown_fields: UnknownFields | None = None
    drop_params: bool | list[str] | None = None
    reads_images: bool | None = None
    cooldown: Cooldown | None = None


class Provider(Options):
    """One account at one provider, and the defaults of its models."""

    wire: Wire = "openai"
    base_url: HttpUrl | None = None
    api_key: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, str | bool | int | float] = Field(default_factory=dict)


class Deployment(Options):
    """One model at one provider, beside others that serve the same name."""

    provider: str
    model: str | None = None
    weight: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    max_concurrent: Count | None = None
    context_window: Count | None = None


def _by_class(value: Any) -> Any:
    """Return a plain list of fallbacks as those of every class."""
    return {DEFAULT: value} if isinstance(value, list) else value


class Model(Options):
    """One name that clients may ask for; a `*` in it matches anything, and in `model` stands for that.

    It has a provider, or several deployments.
    """

    provider: str | None = None
    model: str | None = None
    deployments: Annotated[list[Deployment], Field(min_length=1)] | None = None
    strategy: Strategy = "weighted"
    affinity: bool = True
    kind: Kind = "chat"
    fallbacks: Annotated[dict[ErrorClass, list[str]], BeforeValidator(_by_class)] = Field(
        default_factory=dict
    )
    parameters: dict[str, Any] = Field(default_factory=dict)
    forced_parameters: dict[str, Any] = Field(default_factory=dict)
    max_concurrent: Count | None = None
    context_window: Count | None = None


class File(Entry):
    """The whole file."""

    providers: dict[str, Provider] = Field(default_factory=dict)
    models: Annotated[dict[str, Model], Field(min_length=1)]
    embedding_model: str | None = None


def read_routes(path: Path, environment: Mapping[str, str]) -> Routes:
    """Read the file; RoutesRefused names the file, the line and the reason."""
    document = YamlFile.read(path, environment, RoutesRefused)
    return _Reader(document, document.parsed(File)).routes()


class _Reader:
    def __init__(self, document: YamlFile, file: File) -> None:
        self._document = document
        self._file = file

    def routes(self) -> Routes:
        for where in self._secrets():
            self._refuse_written_secret(where)
        self._check_headers()
        routes = {name: self._route(name, model) for name, model in self._file.models.items()}
        self._refuse_loops(routes)
        document, embedding_model = self._document, self._file.embedding_model
        found = Routes(routes, embedding_model, created=document.modified, stamp=document.stamp)
        if embedding_model is not None:
            self._check_embedding_model(found, embedding_model)
        return found

    def _route(self, name: str, model: Model) -> Route:
        where = ("models", name)
        if name.count("*") > 1:
            raise self._document.refused(where, "a name can have only one '*'")
        for key in ("parameters", "forced_parameters", "drop_params"):
            self._check_fields((*where, key), getattr(model, key))
        return Route(
            name,
            model.kind,
            self._targets(name, model),
            self._fallbacks(name, model),
            strategy=model.strategy,
            has_affinity=model.affinity,
        )

    def _targets(self, name: str, model: Model) -> tuple[Target, ...]:
        where: Where = ("models", name)
        if (model.provider is None) == (model.deployments is None):
            raise self._document.refused(where, "needs either a provider or deployments")
        if model.provider is not None:
            one = Deployment(
                provider=model.provider,
                model=model.model,
                max_concurrent=model.max_concurrent,
                context_window=model.context_window,
            )
            return (self._target(where, name, model, one),)
        for key in ("model", "max_concurrent"):
            if getattr(model, key) is not None:
                raise self._document.refused((*where, key), "belongs to each of the deployments")
        targets: dict[str, Target] = {}
        for place, deployment in enumerate(model.deployments or ()):
            here = (*where, "deployments", place)
            self._check_fields((*here, "drop_params"), deployment.drop_params)
            target = self._target(here, name, model, deployment)
            if target.key in targets:
                raise self._document.refused(here, f"'{target.key}' is a deployment of this name already")
            targets[target.key] = target
        if not any(target.weight for target in targets.values()):
            raise self._document.refused((*where, "deployments"), "one of them needs a weight above 0")
        return tuple(targets.values())

    def _target(self, where: Where, name: str, model: Model, deployment: Deployment) -> Target:
        provider = self._file.providers.get(deployment.provider)
        if provider is None and deployment.provider == "local":
            provider = Provider(wire="local")
        if provider is None:
            reason = f"'{deployment.provider}' is not a name under providers"
            raise self._document.refused((*where, "provider"), reason)
        upstream = deployment.model or name
        if "*" in upstream and "*" not in name:
            raise self._document.refused((*where, "model"), "a '*' here needs one in the name")
        if provider.wire == "local":
            upstream = LOCAL_EMBEDDING if model.kind == "embedding" else LOCAL_CHAT
        options = _Options(deployment, model, provider)
        dropped = options.of("drop_params", default=False)
        base_url = str(provider.base_url).rstrip("/") if provider.base_url else ""
        window = deployment.context_window or model.context_window
        return Target(
            provider=deployment.provider,
            wire=provider.wire,
            model=upstream,
            base_url=base_url or (OPENAI if provider.wire in ("openai", "responses") else ""),
            api_key=provider.api_key,
            headers=tuple(provider.headers.items()),
            parameters=tuple(provider.parameters.items()),
            connect_timeout=options.of("connect_timeout", 10.0),
            read_timeout=options.of("read_timeout", 600.0),
            first_byte_timeout=options.of("first_byte_timeout"),
            total_timeout=options.of("total_timeout"),
            attempts=options.of("retries", 2) + 1,
            max_inputs=options.of("max_inputs"),
            max_input_tokens=options.of("max_input_tokens"),
            weight=deployment.weight,
            max_concurrent=deployment.max_concurrent,
            cooldown=CooldownRule(**options.of("cooldown", Cooldown()).model_dump()),
            default_fields=model.parameters,
            forced_fields=model.forced_parameters,
            drop_fields=frozenset(dropped if isinstance(dropped, list) else ()),
            drops_unsupported=dropped is True,
            unknown_fields=options.of("unknown_fields"),
            reads_images=options.of("reads_images"),
            context_window=window or (CONTEXT_WINDOW if provider.wire == "local" else None),
        )

    def _fallbacks(self, name: str, model: Model) -> dict[ErrorClass, tuple[str, ...]]:
        for error_class, names in model.fallbacks.items():
            for place, fallback in enumerate(names):
                if fallback not in self._file.models or "*" in fallback:
                    where = ("models", name, "fallbacks", error_class, place)
                    raise self._document.refused(where, f"'{fallback}' is not a name under models")
        return {error_class: tuple(names) for error_class, names in model.fallbacks.items() if names}

    def _refuse_loops(self, routes: Mapping[str, Route]) -> None:
        """Refuse fallbacks that lead back to their own name, by any class of errors, or on and on."""
        lengths: dict[str, int] = {}

        def walk(name: str, path: tuple[str, ...]) -> int:
            if name in path:
                loop = " → ".join((*path[path.index(name) :], name))
                where = ("models", path[-1], "fallbacks")
                reason = f"is a loop: {loop}. Have the last one fall back to a name without fallbacks"
                raise self._document.refused(where, reason)
            if len(path) + lengths.get(name, 1) > LONGEST_CHAIN:
                reason = f"is a chain of more than {LONGEST_CHAIN} names; list them in one place instead"
                raise self._document.refused(("models", path[0], "fallbacks"), reason)
            if name not in lengths:
                names = {each for names in routes[name].fallbacks.values() for each in names}
                lengths[name] = 1 + max((walk(each, (*path, name)) for each in names), default=0)
            return lengths[name]

        for name in routes:
            walk(name, ())

    def _check_headers(self) -> None:
        """Refuse headers that HTTP cannot carry."""
        for name, provider in self._file.providers.items():
            for header, value in provider.headers.items():
                if not HEADER_NAME.fullmatch(header) or CONTROL.search(value):
                    where = ("providers", name, "headers", header)
                    raise self._document.refused(where, "is not a header that can be sent")

    def _check_fields(self, where: Where, fields: Any) -> None:
        """Refuse fields that every request has to bring itself."""
        for name in fields if isinstance(fields, dict | list) else ():
            if name in FIXED:
                raise self._document.refused(where, f"'{name}' is each request's own and cannot be set here")

    def _check_embedding_model(self, routes: Routes, name: str) -> None:
        try:
            route = routes.find(name)
        except ModelNotFound as exc:
            raise self._document.refused(
                ("embedding_model",), f"'{name}' is not a name under models"
            ) from exc
        if route.fallbacks:
            reason = "vectors of two models do not compare: give it deployments of one model, not fallbacks"
            raise self._document.refused(("models", route.name, "fallbacks"), reason)

    def _secrets(self) -> Iterator[Where]:
        """Yield where the file has a secret."""
        for name, provider in self._file.providers.items():
            where = ("providers", name)
            if provider.api_key is not None:
                yield (*where, "api_key")
            for key in ("headers", "parameters"):
                for field, value in getattr(provider, key).items():
                    if isinstance(value, str) and is_secret(field, value):
                        yield (*where, key, field)

    def _refuse_written_secret(self, where: Where) -> None:
        if is_secret("api_key", self._document.text_at(where)):
            self._document.refuse_written_secret(where)


class _Options:
    """The options of one deployment, the nearest first."""

    def __init__(self, *levels: Options) -> None:
        self._levels = levels

    def of(self, name: str, default: Any = None) -> Any:
        """Return an option that is set, else `default`."""
        values = (getattr(level, name) for level in self._levels)
        return next((value for value in values if value is not None), default)
