"""A method, a path and a query mean one operation, or a 404, or a 405 that says what is allowed."""

from pathlib import Path

import pytest

from spec.edition import Edition
from spec.errors import InvalidRequest, MethodNotAllowed, PathNotFound
from spec.router import Router
from tests.spec.shaped import edition

SPEC = """
openapi: 3.0.0
info: {title: t, version: "1"}
paths:
  /a: {get: {operationId: a, responses: {}}, post: {operationId: make, responses: {}}}
  /a/{x}: {get: {operationId: ax, responses: {}}, delete: {operationId: drop, responses: {}}}
  /a/b: {post: {operationId: ab, responses: {}}}
  /a/{x}/c: {get: {operationId: axc, responses: {}}}
  /a/b/{y}: {get: {operationId: aby, responses: {}}}
  /a/b/d/e: {get: {operationId: abde, responses: {}}}
  /a/{x}/{y}/{z}: {get: {operationId: axyz, responses: {}}}
  /a?beta=true: {get: {operationId: beta, responses: {}}}
  /only?beta=true: {get: {operationId: only, responses: {}}}
"""


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return edition(tmp_path, SPEC).router()


@pytest.mark.parametrize(
    ("method", "path", "query", "name", "values"),
    [
        ("GET", "/a", "", "a", {}),
        ("POST", "/a", "", "make", {}),
        ("GET", "/a/1", "", "ax", {"x": "1"}),
        ("POST", "/a/b", "", "ab", {}),
        ("GET", "/a/b/c", "", "aby", {"y": "c"}),
        ("GET", "/a/q/c", "", "axc", {"x": "q"}),
        ("GET", "/a/b/d/e", "", "abde", {}),
        ("GET", "/a/b/d/f", "", "axyz", {"x": "b", "y": "d", "z": "f"}),
        ("GET", "/a/b/c/e", "", "axyz", {"x": "b", "y": "c", "z": "e"}),
        ("HEAD", "/a", "", "a", {}),
        ("GET", "/a", "beta=true", "beta", {}),
        ("GET", "/a", "x=1&beta=true", "beta", {}),
        ("GET", "/a", "beta=false", "a", {}),
        ("GET", "/only", "beta=true", "only", {}),
        ("GET", "/a/x%2Fy", "", "ax", {"x": "x/y"}),
        ("GET", "/a/%C3%A4%20+", "", "ax", {"x": "ä +"}),
        ("GET", "/a/..", "", "ax", {"x": ".."}),
    ],
)
def test_a_request_finds_its_operation(
    router: Router, method: str, path: str, query: str, name: str, values: dict[str, str]
) -> None:
    found, got = router.match(method, path, query)
    assert (found.name, got) == (name, values)


@pytest.mark.parametrize("path", ["/", "", "/b", "/a/", "/a//c", "/a/b/c/d/e", "/only", "a"])
def test_an_unknown_path_is_not_found(router: Router, path: str) -> None:
    with pytest.raises(PathNotFound):
        router.match("GET", path, "")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/a", ["GET", "HEAD", "POST"]),
        ("OPTIONS", "/a", ["GET", "HEAD", "POST"]),
        ("GET", "/a/b", ["POST"]),
        ("HEAD", "/a/b", ["POST"]),
        ("POST", "/a/1", ["DELETE", "GET", "HEAD"]),
        ("get", "/a", ["GET", "HEAD", "POST"]),
    ],
)
def test_a_wrong_method_says_which_are_allowed(
    router: Router, method: str, path: str, allow: list[str]
) -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        router.match(method, path, "")
    assert refused.value.allow == allow


def test_a_parameter_that_is_not_utf8_is_refused_by_name(router: Router) -> None:
    with pytest.raises(InvalidRequest) as refused:
        router.match("GET", "/a/%FF", "")
    assert refused.value.param == "x"


def test_every_path_starts_with_the_base(newest: Edition) -> None:
    router = Router(newest.operations, "/v1")
    assert router.match("GET", "/v1/models", "")[0].id == "listModels"
    assert router.match("GET", "/v1/threads/t/runs/r", "")[1] == {"thread_id": "t", "run_id": "r"}
    with pytest.raises(PathNotFound):
        router.match("GET", "/models", "")


def test_every_operation_of_every_edition_is_found(editions: dict[str, Edition]) -> None:
    for one in editions.values():
        router = one.router()
        for operation in one.operations:
            path = operation.path
            for name in operation.path_names:
                path = path.replace("{" + name + "}", f"the-{name}")
            query = "&".join(f"{name}={value}" for name, value in operation.query.items())
            found, values = router.match(operation.method, path, query)
            assert found is operation
            assert values == {name: f"the-{name}" for name in operation.path_names}
