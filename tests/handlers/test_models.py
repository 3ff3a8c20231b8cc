import httpx
import pytest

pytestmark = pytest.mark.server


def test_models_of_a_single_provider_are_listed(http: httpx.Client) -> None:
    listed = http.get("models").json()
    assert listed["object"] == "list"
    assert "fake-model" in [model["id"] for model in listed["data"]]
    assert all(model["object"] == "model" for model in listed["data"])


def test_codex_is_told_more_about_each_model(http: httpx.Client) -> None:
    plain = http.get("models").json()
    answer = http.get("models", params={"client_version": "0.169.0"}).json()
    assert answer["data"] == plain["data"]
    assert [model["slug"] for model in answer["models"]] == [model["id"] for model in answer["data"]]
    windows = {model["slug"]: model["context_window"] for model in answer["models"]}
    assert windows["gpt-4o"] == 128_000
    assert windows["fake-model"] is None
    assert "models" not in plain


def test_a_model_is_retrieved_by_its_name(http: httpx.Client) -> None:
    assert http.get("models/gpt-4o").json()["id"] == "gpt-4o"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["nothing", "a%2Fb", "..%2F..", "'\""])
def test_an_unknown_model_is_404_in_openais_words(http: httpx.Client, method: str, name: str) -> None:
    from urllib.parse import unquote

    answer = http.request(method, f"models/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": f"The model '{unquote(name)}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_a_model_cannot_be_deleted(http: httpx.Client) -> None:
    answer = http.delete("models/gpt-4o")
    assert answer.status_code == 403
    assert answer.json()["error"]["param"] == "model"
