"""Finds the operation of a request: static paths by one look-up, the others by a trie of segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes

from spec.errors import InvalidRequest, MethodNotAllowed, PathNotFound
from spec.operation import Operation

Route = Operation | tuple[Operation, ...]
Methods = dict[str, Route]


@dataclass(slots=True)
class _Node:
    """A node of the trie: literal children are tried before the parameter."""

    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    methods: Methods | None = None


class Router:
    """Finds the operation of a method, a path and a query.

    A path without parameters wins over one with them, and a literal segment over a parameter, as
    OpenAPI requires; if that fails, the search backtracks to the parameter. HEAD uses GET's
    operation. Of two operations with the same path and method (`?beta=true`), the one whose fixed
    query matches wins.
    """

    def __init__(self, operations: Iterable[Operation], base: str = "") -> None:
        self._static: dict[str, Methods] = {}
        self._root = _Node()
        for operation in operations:
            methods = self._methods(base + operation.path)
            routes = methods.get(operation.method, ())
            routes = routes if isinstance(routes, tuple) else (routes,)
            ordered = sorted((*routes, operation), key=lambda one: -len(one.query))
            methods[operation.method] = tuple(ordered) if len(ordered) > 1 or ordered[0].query else ordered[0]

    def _methods(self, path: str) -> Methods:
        if "{" not in path:
            return self._static.setdefault(path, {})
        node = self._root
        for segment in path[1:].split("/"):
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literal.setdefault(segment, _Node())
        if node.methods is None:
            node.methods = {}
        return node.methods

    def match(self, method: str, path: str, query: str) -> tuple[Operation, dict[str, str]]:
        """Return the operation and the path's parameters by their names in the spec.

        `path` is still percent-encoded, so that an id may contain `%2F`;
        `query` has no question mark. Raises PathNotFound, MethodNotAllowed, or InvalidRequest for a
        parameter that is not UTF-8.
        """
        methods = self._static.get(path)
        if methods is not None:
            return _choose(methods, method, query), {}
        values: list[str] = []
        methods = _walk(self._root, path[1:].split("/"), 0, values)
        if methods is None:
            raise PathNotFound(path)
        operation = _choose(methods, method, query)
        if "%" in path:
            values = [_decoded(value, name) for name, value in zip(operation.path_names, values, strict=True)]
        return operation, dict(zip(operation.path_names, values, strict=True))


def _walk(node: _Node, segments: list[str], depth: int, values: list[str]) -> Methods | None:
    if depth == len(segments):
        return node.methods
    segment = segments[depth]
    child = node.literal.get(segment)
    if child is not None:
        found = _walk(child, segments, depth + 1, values)
        if found is not None:
            return found
    if node.parameter is None or not segment:
        return None
    values.append(segment)
    found = _walk(node.parameter, segments, depth + 1, values)
    if found is None:
        values.pop()
    return found


def _choose(methods: Methods, method: str, query: str) -> Operation:
    route = methods.get(method)
    if route is None and method == "HEAD":
        route = methods.get("GET")
    if route is None:
        allow = {*methods, "HEAD"} if "GET" in methods else methods
        raise MethodNotAllowed(method, sorted(allow))
    if not isinstance(route, tuple):
        return route
    given = set(parse_qsl(query, keep_blank_values=True))
    for operation in route:
        if operation.query.items() <= given:
            return operation
    raise PathNotFound(f"{route[0].path}?{query}")


def _decoded(value: str, name: str) -> str:
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"Invalid '{name}': not valid UTF-8.", name, "invalid_value") from exc
