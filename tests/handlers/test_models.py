import httpx
import pytest

pytestmark = pytest.mark.server


def test_models_are_the_providers_where_every_name_goes_to_it(http: httpx.Client) -> None:
    listed = http.get("models").json()
    assert listed["object"] == "list"
    assert "fake-model" in [model["id"] for model in listed["data"]]
    assert all(model["object"] == "model" for model in listed["data"])


def test_a_model_is_found_by_its_name(http: httpx.Client) -> None:
    assert http.get("models/gpt-4o").json()["id"] == "gpt-4o"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["nothing", "a%2Fb", "..%2F..", "'\""])
def test_an_unknown_model_is_openais_404(http: httpx.Client, method: str, name: str) -> None:
    from urllib.parse import unquote

    answer = http.request(method, f"models/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": f"The model '{unquote(name)}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_no_model_is_a_callers_to_delete(http: httpx.Client) -> None:
    answer = http.delete("models/gpt-4o")
    assert answer.status_code == 403
    assert answer.json()["error"]["param"] == "model"
