import base64
from array import array
from typing import Any

import httpx
import pytest

from persistence.types import JSON

pytestmark = pytest.mark.server

MODEL = "text-embedding-3-small"


def embedded(http: httpx.Client, given: Any, **fields: Any) -> list[Any]:
    answer = http.post("embeddings", json={"model": MODEL, "input": given, **fields})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["object"] == "list"
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
    return [item["embedding"] for item in body["data"]]


@pytest.mark.parametrize(
    ("given", "count"),
    [("a text", 1), (["a text"], 1), (["one", "two", "three"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
def test_every_form_of_input_is_embedded(http: httpx.Client, given: Any, count: int) -> None:
    assert [len(vector) for vector in embedded(http, given)] == [64] * count


def test_base64_contains_the_same_floats(http: httpx.Client) -> None:
    (floats,) = embedded(http, "a b c")
    (encoded,) = embedded(http, "a b c", encoding_format="base64")
    assert array("f", base64.b64decode(encoded)).tolist() == pytest.approx(floats)


def test_dimensions_are_passed_to_the_provider(http: httpx.Client) -> None:
    assert len(embedded(http, "a b c", dimensions=16)[0]) == 16


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"dimensions": -42}, "dimensions"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[]]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"encoding_format": "xml"}, "encoding_format"),
        ({"inputs": "a"}, "inputs"),
        ({"model": None}, "model"),
    ],
)
def test_the_400_for_bad_input_names_the_field(http: httpx.Client, fields: JSON, param: str) -> None:
    answer = http.post("embeddings", json={"model": MODEL, "input": "x", **fields})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(param) or param in error["message"]
