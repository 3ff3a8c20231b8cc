import inspect

import pytest

from handlers import errors
from inference import errors as inference
from persistence import errors as persistence

AT_START_UP = (inference.RoutesRefused, persistence.StoreRefused)


def leaves(module: object, root: type[Exception]) -> list[type[Exception]]:
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, root)]
    return [c for c in classes if not any(other is not c and issubclass(other, c) for other in classes)]


@pytest.mark.parametrize(
    "kind",
    [kind for kind in leaves(persistence, persistence.StoreError) if not issubclass(kind, AT_START_UP)],
)
def test_every_error_of_the_store_is_an_answer(kind: type[Exception]) -> None:
    answer = errors.translate(kind())
    assert answer is not None
    assert answer.status >= 400


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
    answer = errors.translate(error)
    assert answer is not None
    assert (answer.status, answer.type, answer.code) == (status, type_, code)


def test_a_bug_is_no_answer() -> None:
    assert errors.translate(KeyError("x")) is None


def test_an_unavailable_store_says_when_to_come_again() -> None:
    answer = errors.translate(persistence.StoreUnavailable())
    assert answer is not None
    assert answer.headers["Retry-After"] == "1"


def test_a_providers_odd_code_and_type_become_text() -> None:
    error = inference.ProviderRejected("x", status=400, body={"type": 7, "param": ["a"], "code": 1234})
    answer = errors.translate(error)
    assert answer is not None
    assert answer.body()["error"] == {
        "message": "x",
        "type": "invalid_request_error",
        "param": None,
        "code": "1234",
    }
