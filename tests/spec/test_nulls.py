"""Null in an optional field means absent, in every request."""

from collections.abc import Callable

import pytest

from spec.edition import Edition, shipped
from spec.errors import InvalidRequest
from spec.operation import Operation
from spec.schema import flat_schemas, property_names
from spec.types import JSON

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}

DUMPED_MESSAGES: list[JSON] = [
    {"role": "tool", "tool_call_id": "c", "content": "1", "name": "f"},
    {"role": "tool", "tool_call_id": "c", "content": "1", "name": None},
    {
        "role": "assistant",
        "content": "hi",
        "name": None,
        "tool_calls": None,
        "annotations": None,
        "audio": None,
        "refusal": None,
        "function_call": None,
    },
    {"role": "assistant", "content": None, "tool_calls": [CALL], "parsed": None, "reasoning_content": "hm"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [CALL | {"function": CALL["function"] | {"parsed_arguments": {"a": 1}}}],
    },
    {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
]
"""Messages as SDKs and frameworks send them back."""


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("message", DUMPED_MESSAGES)
def test_a_dumped_message_is_taken_back(editions: dict[str, Edition], name: str, message: JSON) -> None:
    operation = {one.name: one for one in editions[name].operations}["create_chat_completion"]
    body = {"model": "m", "messages": [USER, {**message}]}
    operation.bodies["application/json"].check(body)
    sent = body["messages"][1]
    assert isinstance(sent, dict)
    assert sent == {field: value for field, value in message.items() if field in sent}
    assert {field for field, value in message.items() if value is not None} <= sent.keys()


def test_unknown_fields_of_a_chat_request_pass(operation: Callable[[str], Operation]) -> None:
    body = {"model": "m", "messages": [USER], "top_k": 40, "chat_template_kwargs": {"thinking": None}}
    operation("create_chat_completion").bodies["application/json"].check(body)
    assert body["top_k"] == 40
    assert body["chat_template_kwargs"] == {"thinking": None}


NULLED: list[tuple[str, JSON, JSON]] = [
    ("create_run", {"assistant_id": "a", "tool_choice": None}, {"assistant_id": "a"}),
    ("create_run", {"assistant_id": "a", "truncation_strategy": None}, {"assistant_id": "a"}),
    ("create_thread_and_run", {"assistant_id": "a", "tool_choice": None}, {"assistant_id": "a"}),
    ("modify_vector_store", {"expires_after": None}, {}),
    ("create_vector_store", {"file_ids": None, "expires_after": None}, {}),
    (
        "create_assistant",
        {
            "model": "m",
            "tool_resources": {
                "code_interpreter": None,
                "file_search": {"vector_store_ids": ["v"], "vector_stores": None},
            },
        },
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": ["v"]}}},
    ),
    (
        "create_assistant",
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": None, "vector_stores": None}}},
        {"model": "m", "tool_resources": {"file_search": {}}},
    ),
    (
        "create_thread",
        {"tool_resources": {"file_search": {"vector_store_ids": None}}},
        {"tool_resources": {"file_search": {}}},
    ),
    (
        "create_assistant",
        {"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": None}}]},
        {"model": "m", "tools": [{"type": "function", "function": {"name": "f"}}]},
    ),
    (
        "create_response",
        {"model": "m", "input": [{"role": "user", "content": "hi", "type": None}]},
        {"model": "m", "input": [{"role": "user", "content": "hi"}]},
    ),
]


@pytest.mark.parametrize(("name", "sent", "received"), NULLED)
def test_null_in_an_optional_field_is_absent(
    operation: Callable[[str], Operation], name: str, sent: JSON, received: JSON
) -> None:
    operation(name).bodies["application/json"].check(sent)
    assert sent == received


@pytest.mark.parametrize("name", shipped())
def test_every_optional_field_of_every_request_may_be_null(editions: dict[str, Edition], name: str) -> None:
    components = editions[name].document["components"]["schemas"]
    refused = []
    for operation in editions[name].operations:
        for body in operation.bodies.values():
            required = {
                field for one in flat_schemas(body.schema, components) for field in one.get("required", ())
            }
            for field in property_names(body.schema, components) - required:
                try:
                    body.check({field: None})
                except InvalidRequest as exc:
                    if exc.param == field:
                        refused.append((operation.id, field, exc.message))
    assert refused == []


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("create_assistant", {"model": "m"}),
        ("modify_assistant", {}),
        ("create_run", {"assistant_id": "a"}),
        ("create_chat_completion", {"model": "m", "messages": [USER]}),
    ],
)
def test_the_python_sdks_name_for_a_schema_is_taken(
    operation: Callable[[str], Operation], name: str, required: JSON
) -> None:
    body: JSON = {
        **required,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": None, "schema_": {"type": "object"}},
        },
    }
    operation(name).bodies["application/json"].check(body)
    assert body["response_format"]["json_schema"] == {"name": "n", "schema": {"type": "object"}}


def test_null_that_the_schema_allows_stays(operation: Callable[[str], Operation]) -> None:
    body: JSON = {"name": None, "metadata": None}
    operation("modify_assistant").bodies["application/json"].check(body)
    assert body == {"name": None, "metadata": None}


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("create_assistant", {"model": None}, "model"),
        ("create_message", {"role": "user", "content": None}, "content"),
        ("create_assistant", {"model": "m", "metadata": {"a": None}}, "metadata.a"),
        ("create_assistant", {"model": "m", "tools": [None]}, "tools[0]"),
        ("create_chat_completion", {"model": "m", "messages": [{"role": "user", "content": None}]}, None),
    ],
)
def test_null_in_a_required_field_is_refused(
    operation: Callable[[str], Operation], name: str, body: JSON, param: str | None
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        operation(name).bodies["application/json"].check(body)
    assert refused.value.param == (param or "messages[0].content")


def test_an_update_takes_its_whole_object(operation: Callable[[str], Operation]) -> None:
    body = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {"a": "b"}}
    operation("modify_thread").bodies["application/json"].check(body)
    assert body == {"metadata": {"a": "b"}}
    with pytest.raises(InvalidRequest, match="Unknown parameter: 'foo'"):
        operation("modify_thread").bodies["application/json"].check({"foo": 1})
    with pytest.raises(InvalidRequest, match="Unknown parameter: 'id'"):
        operation("create_thread").bodies["application/json"].check({"id": "thread_1"})
