"""Editions: dated versions of openapi.yaml, shipped or the operator's own, ready to serve."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from spec.cache import cached, digest
from spec.errata import Erratum, apply_errata
from spec.errors import InvalidSpec
from spec.facade import facade
from spec.normalize import normalize
from spec.operation import JSON_MEDIA, Operation, operation
from spec.reading import parse, read
from spec.router import Router
from spec.schema import property_names
from spec.types import JSON

DEFAULT_BASE = "/v1"


@dataclass(frozen=True, slots=True, eq=False)
class Edition:
    """One edition of the API; `document` is normalized, corrected, and has our own operations."""

    name: str
    operations: tuple[Operation, ...]
    document: JSON = field(repr=False)

    @property
    def base(self) -> str:
        """The path prefix of the edition's server, `/v1`."""
        servers = self.document.get("servers") or [{}]
        return urlsplit(servers[0].get("url", "")).path.rstrip("/") or DEFAULT_BASE

    def router(self) -> Router:
        """Return a router of the operations, for paths without the base."""
        return Router(self.operations)

    def facade(self) -> JSON:
        """Return an OpenAPI 3.0 document of the operations, for Connexion."""
        return facade(self.operations, self.base)


@dataclass(frozen=True, slots=True)
class Served:
    """How many of an edition's operations have a handler."""

    edition: str
    operations: int
    served: int


def shipped() -> list[str]:
    """Return the names of the editions that come with Astrolabe, oldest first."""
    names = (one.name for one in files(__package__).joinpath("editions").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load(spec: str, cache: Path | None, rules: Sequence[Erratum] = ()) -> Edition:
    """Load the edition of that name, or the openapi.yaml or .json at that path.

    `cache` is a directory for normalized documents, created if missing; None for no cache. `rules` are
    changes beyond the errata. Raises InvalidSpec with one line if it cannot be served.
    """
    name, path = _located(spec)
    raw = read(path)
    own = files(__package__).joinpath("own.yaml").read_bytes()

    def make() -> JSON:
        return _merged(apply_errata(normalize(parse(raw, spec), spec)), deepcopy(_own_operations(own)))

    document = cached(cache, digest((spec.encode(), raw, own)), make)
    for rule in rules:
        rule.change(document)
    return Edition(name, tuple(_operations(document)), document)


def served(edition: Edition, names: AbstractSet[str]) -> Served:
    """Count the operations of OpenAI's in the edition that have a handler among `names`."""
    upstream = [one for one in edition.operations if not one.own]
    return Served(edition.name, len(upstream), sum(one.name in names for one in upstream))


def _located(spec: str) -> tuple[str, Path]:
    names = shipped()
    if spec in names:
        return spec, Path(str(files(__package__).joinpath("editions", f"{spec}.yaml")))
    path = Path(spec)
    if "/" not in spec and path.suffix not in (".yaml", ".yml", ".json") and not path.exists():
        raise InvalidSpec(spec, "edition", f"neither a file nor one of the editions {', '.join(names)}")
    return path.stem, path


@cache
def _own_operations(raw: bytes) -> JSON:
    """Return our own operations, normalized."""
    return normalize(parse(raw, "own.yaml"), "own.yaml")


def _merged(document: JSON, own: JSON) -> JSON:
    """Return `document` with our own operations added; the edition's win."""
    paths = {path: dict(item) for path, item in document["paths"].items()}
    places = {_shape(path): path for path in paths}
    for path, item in own["paths"].items():
        there = paths.setdefault(places.get(_shape(path), path), {})
        for method, spec in item.items():
            there.setdefault(method, {**spec, "x-astrolabe": True})
    return {**document, "paths": paths}


def _shape(path: str) -> str:
    return "/".join("{}" if segment.startswith("{") else segment for segment in path.split("/"))


def _operations(document: JSON) -> Iterable[Operation]:
    components, paths = document["components"]["schemas"], document["paths"]
    for path, item in paths.items():
        shown = created = frozenset[str]()
        if path.endswith("}"):
            shown = _object_fields(item, components)
            created = _creation_fields(paths.get(path.rpartition("/")[0], {}), components)
        for method, spec in item.items():
            yield operation(path, method, spec, components, shown, created)


def _object_fields(item: JSON, components: JSON) -> frozenset[str]:
    """The fields of the object that GET of the same path answers."""
    answer = item.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    return property_names(answer.get(JSON_MEDIA, {}).get("schema"), components)


def _creation_fields(item: JSON, components: JSON) -> frozenset[str]:
    """The fields of the body that POST of a collection's path takes."""
    content = item.get("post", {}).get("requestBody", {}).get("content", {})
    return property_names(content.get(JSON_MEDIA, {}).get("schema"), components)
