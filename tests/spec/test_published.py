"""What is published is what is enforced."""

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from spec.edition import Edition
from spec.operation import Operation
from tests.spec.observed import RUN
from tests.spec.test_validation import ASK, VALID


def measured(document: dict[str, Any], schema: Any, value: Any) -> bool:
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


@pytest.fixture(scope="module")
def document(newest: Edition) -> dict[str, Any]:
    return newest.published()


def body(document: dict[str, Any], operation: Operation) -> Any:
    spec = document["paths"][operation.path][operation.method.lower()]
    return spec["requestBody"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize(("name", "value"), VALID[:6])
def test_a_request_that_passes_fits(
    document: dict[str, Any], operation: Callable[[str], Operation], name: str, value: Any
) -> None:
    assert measured(document, body(document, operation(name)), value)


def test_a_request_with_an_unknown_field_does_not(
    document: dict[str, Any], operation: Callable[[str], Operation]
) -> None:
    schema = body(document, operation("create_chat_completion"))
    for value in (ASK | {"foo": 1}, ASK | {"messages": [{"role": "user", "content": "hi", "foo": 1}]}):
        assert not measured(document, schema, value)


def test_an_answer_of_the_service_fits(document: dict[str, Any]) -> None:
    answer = document["paths"]["/threads/{thread_id}/runs"]["post"]["responses"]["200"]
    assert measured(document, answer["content"]["application/json"]["schema"], RUN | {"last_error": None})


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    jsonschema_rs.meta.validate(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": document["components"]["schemas"],
        }
    )
    todo: list[Any] = [document]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            reference = one.get("$ref")
            if isinstance(reference, str):
                assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
            todo += one.values()
        elif isinstance(one, list):
            todo += one
