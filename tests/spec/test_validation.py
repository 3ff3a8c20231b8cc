"""Requests are refused in OpenAI's words, naming the field."""

from collections.abc import Callable
from typing import Any

import pytest

from spec.errors import InvalidRequest
from spec.operation import Operation
from spec.types import JSON
from spec.validation import RequestValidator, ResponseValidator

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ROLES = "'developer', 'system', 'user', 'assistant', 'tool', and 'function'"
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "any": 1}}}


def tool(**change: Any) -> JSON:
    return ASK | {"tools": [FUNCTION | change]}


def message(**change: Any) -> JSON:
    return ASK | {"messages": [{"role": "user", "content": "hi"} | change]}


def image(url: str) -> JSON:
    return message(content=[{"type": "image_url", "image_url": {"url": url}}])


URL = "messages[0].content[0].image_url.url"
NO_URL = (
    URL,
    "invalid_value",
    f"Invalid '{URL}'. Expected a valid URL, but got a value with an invalid format.",
)

CHAT: list[tuple[Any, str | None, str, str]] = [
    ({"model": "m"}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
    ([], None, "invalid_type", "Invalid type: expected an object, but got an array instead."),
    (image(""), *NO_URL),
    (image("cat.png"), *NO_URL),
    (image("https://example.com/a cat.png"), *NO_URL),
    (None, None, "invalid_type", "Invalid type: expected an object, but got null instead."),
    (
        ASK | {"model": 5},
        "model",
        "invalid_type",
        "Invalid type for 'model': expected a string, but got an integer instead.",
    ),
    (
        ASK | {"messages": []},
        "messages",
        "empty_array",
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
    ),
    (
        ASK | {"messages": ["hi"]},
        "messages[0]",
        "invalid_type",
        "Invalid type for 'messages[0]': expected an object, but got a string instead.",
    ),
    (
        message(role="x"),
        "messages[0].role",
        "invalid_value",
        f"Invalid value: 'x'. Supported values are: {ROLES}.",
    ),
    (
        ASK | {"messages": [{"content": "hi"}]},
        "messages[0].role",
        "missing_required_parameter",
        "Missing required parameter: 'messages[0].role'.",
    ),
    (
        message(content=5),
        "messages[0].content",
        "invalid_type",
        "Invalid type for 'messages[0].content': expected one of a string or an array, but got an integer instead.",
    ),
    (
        message(content=[{"type": "txt", "text": "a"}]),
        "messages[0].content[0].type",
        "invalid_value",
        "Invalid value: 'txt'. Supported values are: 'text', 'image_url', 'input_audio', and 'file'.",
    ),
    (
        message(content=[{"type": "text", "txt": "a"}]),
        "messages[0].content[0].text",
        "missing_required_parameter",
        "Missing required parameter: 'messages[0].content[0].text'.",
    ),
    (
        ASK | {"temperature": 5},
        "temperature",
        "integer_above_max_value",
        "Invalid 'temperature': integer above maximum value. Expected a value <= 2, but got 5 instead.",
    ),
    (
        ASK | {"temperature": 2.5},
        "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
    ),
    (
        ASK | {"temperature": "1"},
        "temperature",
        "invalid_type",
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
    ),
    (
        ASK | {"n": 0},
        "n",
        "integer_below_min_value",
        "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    ),
    (
        ASK | {"stop": ["a"] * 5},
        "stop",
        "array_above_max_length",
        (
            "Invalid 'stop': array too long. Expected an array with maximum length 4, "
            "but got an array with length 5 instead."
        ),
    ),
    (tool(z=1), "tools[0].z", "unknown_parameter", "Unknown parameter: 'tools[0].z'."),
    (
        tool(type="functio"),
        "tools[0].type",
        "invalid_value",
        "Invalid value: 'functio'. Supported values are: 'function' and 'custom'.",
    ),
    (
        tool(function={"parameters": {}}),
        "tools[0].function.name",
        "missing_required_parameter",
        "Missing required parameter: 'tools[0].function.name'.",
    ),
    (
        ASK | {"tool_choice": "foo"},
        "tool_choice",
        "invalid_value",
        "Invalid value: 'foo'. Supported values are: 'none', 'auto', and 'required'.",
    ),
    (
        ASK | {"tool_choice": {"type": "function"}},
        "tool_choice.function",
        "missing_required_parameter",
        "Missing required parameter: 'tool_choice.function'.",
    ),
    (
        ASK | {"response_format": {"type": "json"}},
        "response_format.type",
        "invalid_value",
        "Invalid value: 'json'. Supported values are: 'text', 'json_schema', and 'json_object'.",
    ),
    (
        ASK | {"metadata": {str(number): "" for number in range(17)}},
        "metadata",
        "object_above_max_properties",
        (
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
            "but got an object with 17 properties instead."
        ),
    ),
    (
        ASK | {"metadata": {"k": "x" * 513}},
        "metadata.k",
        "string_above_max_length",
        (
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 513 instead."
        ),
    ),
    (
        ASK | {"metadata": {"k" * 65: ""}},
        "metadata",
        "string_above_max_length",
        (
            f"Invalid 'metadata': property name '{'k' * 65}': string too long. Expected a string with maximum "
            "length 64, but got a string with length 65 instead."
        ),
    ),
    (
        ASK | {"metadata": {"k": 1}},
        "metadata.k",
        "invalid_type",
        "Invalid type for 'metadata.k': expected a string, but got an integer instead.",
    ),
]


@pytest.mark.parametrize(("body", "param", "code", "text"), CHAT)
def test_a_chat_completion_is_refused_as_openai_does(
    operation: Callable[[str], Operation], body: Any, param: str | None, code: str, text: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        operation("create_chat_completion").bodies["application/json"].check(body)
    assert (refused.value.param, refused.value.code, refused.value.message) == (param, code, text)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.png?x=%20",
        "https://bücher.example/ä",
        "data:image/png;base64,AA==",
        "gs://b/c",
    ],
)
def test_an_image_may_have_any_url(operation: Callable[[str], Operation], url: str) -> None:
    operation("create_chat_completion").bodies["application/json"].check(image(url))


def test_formats_of_answers_are_not_validated() -> None:
    schema = {"type": "string", "format": "uri"}
    assert ResponseValidator(schema, {}).is_valid("no URL")
    assert not RequestValidator(schema, {}).is_valid("no URL")


OTHERS: list[tuple[str, Any, str, str]] = [
    ("create_assistant", {"model": "m", "tools": [{"type": "x"}]}, "tools[0].type", "invalid_value"),
    ("create_assistant", {"model": "m", "name": "x" * 257}, "name", "string_above_max_length"),
    ("create_assistant", {"model": None}, "model", "invalid_type"),
    ("create_assistant", {"model": "m", "response_format": "x"}, "response_format", "invalid_value"),
    (
        "create_assistant",
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": ["a", "b"]}}},
        "tool_resources.file_search.vector_store_ids",
        "array_above_max_length",
    ),
    (
        "create_assistant",
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": [], "vector_store_id": "a"}}},
        "tool_resources.file_search.vector_store_id",
        "unknown_parameter",
    ),
    ("create_thread", {"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    ("create_thread", {"metadata": {"a": ["b"]}}, "metadata.a", "invalid_type"),
    ("create_message", {"role": "user", "content": []}, "content", "empty_array"),
    (
        "create_message",
        {"role": "user", "content": [{"type": "image_file", "image_file": {}}]},
        "content[0].image_file.file_id",
        "missing_required_parameter",
    ),
    ("create_run", {}, "assistant_id", "missing_required_parameter"),
    (
        "create_run",
        {"assistant_id": "a", "max_prompt_tokens": 1},
        "max_prompt_tokens",
        "integer_below_min_value",
    ),
    ("submit_tool_outputs_to_run", {"tool_outputs": [{"x": 1}]}, "tool_outputs[0].x", "unknown_parameter"),
    (
        "create_response",
        {"model": "m", "input": [{"role": "usr", "content": "x"}]},
        "input[0].role",
        "invalid_value",
    ),
    (
        "create_response",
        {"model": "m", "input": [{"type": "function_call_output", "call_id": "c"}]},
        "input[0].output",
        "missing_required_parameter",
    ),
    ("create_response", {"model": "m", "input": [{"type": "zzz"}]}, "input[0].type", "invalid_value"),
    (
        "create_response",
        {
            "model": "m",
            "tools": [
                {
                    "type": "file_search",
                    "vector_store_ids": ["v"],
                    "filters": {"type": "and", "filters": [{"type": "eq", "key": "a"}]},
                }
            ],
        },
        "tools[0].filters.filters[0].value",
        "missing_required_parameter",
    ),
    ("create_embedding", {"model": "m", "input": []}, "input", "empty_array"),
    (
        "search_vector_store",
        {"query": "q", "max_num_results": 51},
        "max_num_results",
        "integer_above_max_value",
    ),
    (
        "search_vector_store",
        {"query": "q", "max_num_results": 0},
        "max_num_results",
        "integer_below_min_value",
    ),
    ("create_vector_store_file_batch", {"file_ids": ["f"] * 2001}, "file_ids", "array_above_max_length"),
    ("search_vector_store", {"query": ["q"] * 33}, "query", "array_above_max_length"),
    ("search_vector_store", {"query": ["q", "q" * 4097]}, "query[1]", "string_above_max_length"),
    ("search_vector_store", {"query": "q" * 4097}, "query", "string_above_max_length"),
    ("complete_upload", {"part_ids": ["p"] * 10_001}, "part_ids", "array_above_max_length"),
]


@pytest.mark.parametrize(("name", "body", "param", "code"), OTHERS)
def test_the_field_is_named(
    operation: Callable[[str], Operation], name: str, body: Any, param: str, code: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        operation(name).bodies["application/json"].check(body)
    assert (refused.value.param, refused.value.code) == (param, code)


VALID: list[tuple[str, Any]] = [
    ("create_chat_completion", ASK),
    ("create_chat_completion", tool()),
    (
        "create_chat_completion",
        ASK
        | {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"x": {"y": 1}}},
            }
        },
    ),
    ("create_chat_completion", ASK | {"logit_bias": {"50256": -100}}),
    (
        "create_chat_completion",
        {
            "model": "m",
            "messages": [
                {"role": "assistant", "content": "hi", "refusal": None, "annotations": []},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
            ],
        },
    ),
    ("create_assistant", {"model": "m", "metadata": None, "tools": [FUNCTION]}),
    ("create_thread", {}),
    ("create_response", {"model": "m", "input": "hi"}),
    ("create_response", {"model": "m", "input": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}}),
    ("create_message", {"role": "user", "content": "hi"}),
]


@pytest.mark.parametrize(("name", "body"), VALID)
def test_a_valid_request_passes(operation: Callable[[str], Operation], name: str, body: Any) -> None:
    operation(name).bodies["application/json"].check(body)


def test_an_error_message_stays_short(operation: Callable[[str], Operation]) -> None:
    for body in (
        message(role="x" * 10_000_000),
        tool(**{"x" * 10_000_000: 1}),
        ASK | {"n": "y" * 10_000_000},
    ):
        with pytest.raises(InvalidRequest) as refused:
            operation("create_chat_completion").bodies["application/json"].check(body)
        assert len(refused.value.message) < 600
        assert len(refused.value.param or "") < 300
