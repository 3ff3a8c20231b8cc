import openai
import pytest
from conftest import MODEL
from openai import OpenAI


def refused(
    client: OpenAI,
    path: str,
    body: object = None,
    method: str = "POST",
    raw: bytes | None = None,
    **headers: str,
) -> dict:
    """The error object of a request that the SDK itself would not send; its status is 4xx."""
    content = {"content": raw} if raw is not None else {"json": body} if body is not None else {}
    headers = {"Authorization": "Bearer any", "Content-Type": "application/json", **headers}
    answer = client._client.request(method, str(client.base_url) + path, headers=headers, **content)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["x-request-id"].startswith("req_")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return {**error, "status": answer.status_code}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "model", "missing_required_parameter"),
        ({"model": 1}, "model", "invalid_type"),
        ({"model": "m", "nmae": "x"}, "nmae", "unknown_parameter"),
        ({"model": "m", "temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"model": "m", "name": "x" * 257}, "name", "string_above_max_length"),
        (
            {"model": "m", "metadata": {str(i): "v" for i in range(17)}},
            "metadata",
            "object_above_max_properties",
        ),
        ({"model": "m", "metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
        ({"model": "m", "metadata": {"k": 1}}, "metadata.k", "invalid_type"),
        ({"model": "m", "tools": [{"type": "nonsense"}]}, "tools[0].type", "invalid_value"),
        ({"model": "m", "name": "a\u0000b"}, "name", "invalid_value"),
    ],
)
def test_a_wrong_field_is_named(client: OpenAI, body: dict, param: str, code: str) -> None:
    error = refused(client, "assistants", body)
    assert (error["status"], error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"",
        b"null",
        b'{"model": NaN}',
        b'{"model": "\xff"}',
        b'{"model": "a", "model": "b"}',
        b'{"metadata": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"model": "\\ud800"}',
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(client: OpenAI, raw: bytes) -> None:
    assert refused(client, "assistants", raw=raw)["status"] == 400


def test_the_refusal_of_a_string_of_ten_megabytes_names_its_field(client: OpenAI) -> None:
    assert refused(client, "assistants", {"model": "m", "name": "x" * 10_000_000})["param"] == "name"


def test_a_body_over_the_limit_is_413(client: OpenAI) -> None:
    assert refused(client, "assistants", raw=b'{"model": "' + b"x" * 40_000_000 + b'"}')["status"] == 413


def test_a_wrong_content_type_is_refused(client: OpenAI) -> None:
    error = refused(client, "assistants", raw=b"model=m", **{"Content-Type": "text/plain"})
    assert error["code"] == "unsupported_content_type"


def test_an_unknown_path_is_404_and_a_wrong_method_405(client: OpenAI) -> None:
    assert refused(client, "nonsense", method="GET")["status"] == 404
    assert refused(client, "assistants", method="PUT")["status"] == 405


def test_an_operation_that_is_not_served_is_501(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as failure:
        client.get("/evals", cast_to=object)
    assert failure.value.status_code == 501
    assert "listEvals" in failure.value.message


@pytest.mark.parametrize("id", ["thread_abc", "asst_x'; --", "..%2Fassistants", "a" * 2000, "☃"])
def test_a_malformed_id_is_not_found(client: OpenAI, id: str) -> None:
    assert refused(client, f"assistants/{id}", method="GET")["status"] == 404


def test_a_null_character_in_an_id_is_refused(client: OpenAI) -> None:
    refusal = refused(client, "assistants/%00", method="GET")
    assert (refusal["status"], refusal["param"]) == (400, "assistant_id")


def test_every_response_has_openais_headers(client: OpenAI) -> None:
    answer = client.beta.assistants.with_raw_response.create(model=MODEL)
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["openai-processing-ms"].isdigit()
    assert answer.headers["x-request-id"].startswith("req_")
