"""Every error of a lower layer is in the table of ApiErrors."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import inference as inference_package
import persistence as persistence_package
from handlers.errors import ERROR_MAP, map_error
from inference import errors as inference
from inference.errors import InferenceError
from persistence import errors as persistence
from persistence.errors import StoreError

NO_ANSWER = {
    "RoutesRefused": "stops start-up",
    "MCPServersRefused": "stops start-up",
    "ToolsRefused": "stops start-up",
    "PromptsRefused": "stops start-up",
    "WebhooksRefused": "stops start-up",
    "StoreRefused": "stops start-up",
    "CredentialsRefused": "stops start-up; for a tenant's token serving/tenants.py answers 401",
    "DatabaseAmbiguous": "stops start-up; for a tenant's token serving/tenants.py answers 400",
    "KeyspaceMissing": "creates the keyspace, or stops start-up",
    "DocumentError": "fails the ingestion of a file; its content's handler names the field",
}
"""Errors that never reach a client, and why."""


def leaves(package: object, root: type[Exception]) -> Iterator[type[Exception]]:
    """Yield the public error classes of a layer that no other class extends."""
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):  # type: ignore[attr-defined]
        if module.name.rpartition(".")[2] == "errors":
            importlib.import_module(module.name)
    todo = [root]
    while todo:
        kind = todo.pop()
        below = kind.__subclasses__()
        todo += below
        if not below and kind.__module__.endswith(".errors"):
            yield kind


def kinds() -> list[type[Exception]]:
    found = {*leaves(inference_package, InferenceError), *leaves(persistence_package, StoreError)}
    return sorted(found, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", kinds())
def test_every_error_of_a_lower_layer_is_mapped_or_never_reaches_a_client(kind: type[Exception]) -> None:
    mapped = any(issubclass(kind, known) for known, _ in ERROR_MAP)
    assert mapped != (kind.__name__ in NO_ANSWER)


def test_no_entry_of_the_table_is_hidden_by_an_earlier_one() -> None:
    for index, (kind, _) in enumerate(ERROR_MAP):
        assert not any(issubclass(kind, earlier) for earlier, _ in ERROR_MAP[:index])
        assert inspect.isclass(kind)


@pytest.mark.parametrize(
    ("error", "status", "type_", "code"),
    [
        (inference.ModelNotFound("m"), 404, "invalid_request_error", "model_not_found"),
        (inference.ProviderRejected("x", status=422), 422, "invalid_request_error", None),
        (inference.ProviderLimited("x", status=429), 429, "requests", "rate_limit_exceeded"),
        (inference.ProviderTimeout("x", status=504), 504, "server_error", None),
        (inference.ProviderBroken("x", status=503), 503, "server_error", None),
        (persistence.StoreUnavailable(), 503, "server_error", None),
        (persistence.VersionConflict(), 409, "invalid_request_error", "conflict"),
    ],
)
def test_each_error_has_openais_status_type_and_code(
    error: Exception, status: int, type_: str, code: str | None
) -> None:
    answer = map_error(error)
    assert answer is not None
    assert (answer.status, answer.type, answer.code) == (status, type_, code)


def test_an_unknown_exception_is_not_mapped() -> None:
    assert map_error(KeyError("x")) is None


def test_an_unavailable_store_says_when_to_retry() -> None:
    answer = map_error(persistence.StoreUnavailable())
    assert answer is not None
    assert answer.headers["Retry-After"] == "1"


def test_a_providers_odd_code_and_type_become_text() -> None:
    error = inference.ProviderRejected("x", status=400, body={"type": 7, "param": ["a"], "code": 1234})
    answer = map_error(error)
    assert answer is not None
    assert answer.body()["error"] == {
        "message": "x",
        "type": "invalid_request_error",
        "param": None,
        "code": "1234",
    }
