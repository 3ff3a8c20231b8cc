"""Requests for responses as clients send them are valid, and a bad item is named briefly."""

import copy
from collections.abc import Callable

import pytest

from spec.errors import InvalidRequest
from spec.operation import Operation
from spec.types import JSON
from tests.spec.sent_items import FUNCTION, ITEMS, SCHEMA, UUID

CONTENT = "application/json"

REQUESTS: dict[str, JSON] = {
    "Codex": {
        "model": "m",
        "stream": True,
        "input": [],
        "tools": [
            FUNCTION,
            {"type": "namespace", "name": "mail", "description": "Mail.", "tools": [FUNCTION]},
            {
                "type": "web_search",
                "external_web_access": False,
                "search_content_types": ["text", "image"],
            },
            {
                "type": "custom",
                "name": "apply_patch",
                "description": "Edits.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
            },
            {
                "type": "tool_search",
                "execution": "client",
                "description": "Searches tools.",
                "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
            },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto", "context": "all_turns"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": UUID,
        "client_metadata": {"x-codex-installation-id": UUID},
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "a", "strict": True, "schema": SCHEMA},
        },
    },
    "Codex, warming up": {"model": "m", "input": [], "generate": False, "client_metadata": None},
    "Codex, in a chain": {
        "model": "m",
        "input": [],
        "previous_response_id": "resp_1",
        "service_tier": "auto",
    },
    "openai-agents": {
        "model": "m",
        "input": [{"role": "user", "content": "Hi"}],
        "include": [],
        "tools": [],
        "prompt_cache_options": {"mode": "explicit"},
        "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}},
    },
    "a function without strict": {
        "model": "m",
        "input": "Hi",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    },
    "a function without parameters": {
        "model": "m",
        "input": "Hi",
        "tools": [{"type": "function", "name": "f", "strict": None}],
    },
    "a forced custom tool": {
        "model": "m",
        "input": "Hi",
        "tools": [{"type": "custom", "name": "f"}],
        "tool_choice": {"type": "custom", "name": "f"},
    },
    "allowed tools": {
        "model": "m",
        "input": "Hi",
        "tools": [{"type": "local_shell"}, {"type": "shell"}, {"type": "apply_patch"}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]},
    },
    "a forced shell": {"model": "m", "input": "Hi", "tool_choice": {"type": "shell"}},
    "a conversation": {"model": "m", "input": "Hi", "conversation": {"id": "conv_1"}},
    "a conversation's id": {"model": "m", "input": "Hi", "conversation": "conv_1"},
    "a prompt": {"prompt": {"id": "pmpt_1", "variables": {"name": "Ada"}}, "input": "Hi"},
}


@pytest.fixture
def check(operation: Callable[[str], Operation]) -> Callable[[JSON], None]:
    body = operation("create_response").body(CONTENT)
    return lambda request: body.check(copy.deepcopy(request))


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_an_item_that_clients_send_is_valid(item: JSON, check: Callable[[JSON], None]) -> None:
    check({"model": "m", "input": [item]})


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_request_that_clients_send_is_valid(request_: JSON, check: Callable[[JSON], None]) -> None:
    check(request_)


def test_codex_sends_a_compaction_the_fields_of_its_requests(
    operation: Callable[[str], Operation],
) -> None:
    names = ("model", "input", "tools", "parallel_tool_calls", "reasoning", "text", "prompt_cache_key")
    request = REQUESTS["Codex"]
    operation("compactconversation").body(CONTENT).check({name: request[name] for name in names})


ROLES = "Supported values are: 'user', 'assistant', 'system', and 'developer'."
PARTS = "Supported values are: 'input_text', 'input_image', and 'input_file'."
REFUSED = [
    ({"role": "robot", "content": "Hi"}, f"Invalid value: 'robot'. {ROLES}", "role"),
    ({"role": "user"}, "Missing required parameter: 'input[1].content'.", "content"),
    ({"role": "user", "content": "Hi", "x": 1}, "Unknown parameter: 'input[1].x'.", "x"),
    (
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        f"Invalid value: 'text'. {PARTS}",
        "content[0].type",
    ),
    (
        {"type": "function_call", "name": "f", "arguments": "{}"},
        "Missing required parameter: 'input[1].call_id'.",
        "call_id",
    ),
    (
        {"type": "function_call", "call_id": 5, "name": "f", "arguments": "{}"},
        "Invalid type for 'input[1].call_id': expected a string, but got an integer instead.",
        "call_id",
    ),
    (
        {"type": "function_call_output", "call_id": "c"},
        "Missing required parameter: 'input[1].output'.",
        "output",
    ),
    ({"type": "reasoning"}, "Missing required parameter: 'input[1].summary'.", "summary"),
    (
        {"type": "shell_call", "call_id": "c", "action": {"commands": "ls"}},
        "Invalid type for 'input[1].action.commands': expected an array, but got a string instead.",
        "action.commands",
    ),
    (
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function"}]},
        "Missing required parameter: 'input[1].tools[0].name'.",
        "tools[0].name",
    ),
    ({"type": "item_reference"}, "Missing required parameter: 'input[1].id'.", "id"),
]


@pytest.mark.parametrize(("item", "message", "member"), REFUSED)
def test_a_bad_item_is_named(item: JSON, message: str, member: str, check: Callable[[JSON], None]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check({"model": "m", "input": [{"role": "user", "content": "Hi"}, item]})

    assert (refused.value.message, refused.value.param) == (message, f"input[1].{member}")


def test_an_unknown_type_of_item_is_named(check: Callable[[JSON], None]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check({"model": "m", "input": [{"type": "x"}]})

    assert refused.value.message.startswith("Invalid value: 'x'. Supported values are: 'message', ")
    assert refused.value.param == "input[0].type"
