"""A request's tools reach any model as functions, and their calls come back as the tool's items."""

import json
from typing import Any

import pytest

from inference.responses.items import ItemRefused
from inference.responses.tools import RequestTools
from persistence.types import JSON

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}
MAIL = {
    "type": "namespace",
    "name": "mail",
    "description": "The user's mail.",
    "tools": [
        {"type": "function", "name": "send", "description": "Sends.", "parameters": {}, "strict": None}
    ],
}


def names(tools: RequestTools) -> list[str]:
    return [function["function"]["name"] for function in tools.functions]


def test_a_function_is_sent_as_it_is() -> None:
    tools = RequestTools.of([WEATHER], "auto", [])

    assert tools.functions == [
        {
            "type": "function",
            "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True},
        }
    ]
    assert tools.item("weather", '{"a":1}', "call_1") == {
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"a":1}',
    }


def test_a_custom_tool_is_a_function_with_one_text_that_names_its_grammar() -> None:
    tools = RequestTools.of([PATCH], "auto", [])
    function = tools.functions[0]["function"]

    assert "lark" in function["description"]
    assert "start: /.+/" in function["description"]
    assert list(function["parameters"]["properties"]) == ["input"]
    assert tools.item("apply_patch", '{"input":"*** Begin"}', "call_1") == {
        "type": "custom_tool_call",
        "call_id": "call_1",
        "name": "apply_patch",
        "input": "*** Begin",
    }


def test_the_input_of_a_custom_tool_that_is_no_json_is_the_input() -> None:
    assert RequestTools.of([PATCH], "auto", []).item("apply_patch", "*** Begin", "c")["input"] == "*** Begin"


def test_a_function_of_a_namespace_comes_back_with_it() -> None:
    tools = RequestTools.of([MAIL], "auto", [])

    assert names(tools) == ["mail__send"]
    assert tools.functions[0]["function"]["description"] == "The user's mail.\n\nSends."
    item = tools.item("mail__send", "{}", "call_1")
    assert (item["namespace"], item["name"]) == ("mail", "send")
    assert tools.function_call(item) == ("mail__send", "{}")


def test_names_that_chat_models_do_not_take_are_replaced() -> None:
    space = {**MAIL, "name": "mcp.example.com/" + "x" * 80}
    tools = RequestTools.of([space], "auto", [])
    (name,) = names(tools)

    assert len(name) <= 64
    assert name.replace("_", "").isalnum()
    assert tools.item(name, "{}", "c")["namespace"] == space["name"]


def test_a_function_and_a_tool_of_one_name_are_kept_apart() -> None:
    shell = {**WEATHER, "name": "shell"}
    tools = RequestTools.of([shell, {"type": "shell"}], "auto", [])
    first, second = names(tools)

    assert first == "shell"
    assert tools.item(first, "{}", "c")["type"] == "function_call"
    assert tools.item(second, '{"commands":["ls"]}', "c")["type"] == "shell_call"


def test_a_function_named_as_a_tool_of_the_server_is_kept_apart() -> None:
    search = {**WEATHER, "name": "file_search"}

    assert names(RequestTools.of([search], "auto", [])) == ["file_search"]
    (name,) = names(RequestTools.of([search, {"type": "file_search"}], "auto", []))
    assert name != "file_search"


def test_tools_of_items_count_too() -> None:
    brought = {"type": "additional_tools", "role": "developer", "tools": [MAIL]}
    found = {"type": "tool_search_output", "tools": [MAIL, {**WEATHER, "defer_loading": True}]}

    assert names(RequestTools.of([], None, [brought, found])) == ["mail__send", "weather"]


def test_tools_of_the_server_are_listed_as_the_request_has_them() -> None:
    search = {"type": "file_search", "vector_store_ids": ["vs_1"]}
    web = {"type": "web_search_preview_2025_03_11"}
    shell = {"type": "shell", "environment": {"type": "container_auto"}}
    tools = RequestTools.of([search, web, shell, WEATHER], "auto", [])

    assert tools.server == [search, web]
    assert tools.unserved == [shell]
    assert names(tools) == ["weather"]


@pytest.mark.parametrize(
    ("tool", "choice", "optional"),
    [
        ({"type": "web_search", "external_web_access": False}, "auto", True),
        ({"type": "web_search", "external_web_access": False}, "required", False),
        ({"type": "web_search"}, "auto", False),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "auto", False),
    ],
)
def test_a_web_search_of_codex_may_be_left_out(tool: JSON, choice: str, *, optional: bool) -> None:
    assert RequestTools.of([tool], choice, []).is_optional(tool) is optional


def test_functions_of_the_caller_get_other_names_than_those_of_a_web_search() -> None:
    mine = {**WEATHER, "name": "web_open_page"}

    assert names(RequestTools.of([mine], "auto", [])) == ["web_open_page"]
    assert names(RequestTools.of([mine, {"type": "web_search"}], "auto", [])) != ["web_open_page"]


def test_a_shell_in_a_container_is_the_servers() -> None:
    tools = RequestTools.of([{"type": "shell", "environment": {"type": "container_auto"}}], "auto", [])

    assert tools.functions == []
    assert len(tools.unserved) == 1


def test_a_function_that_the_model_invented_is_a_function_call() -> None:
    assert RequestTools.of([WEATHER], "auto", []).item("x", "{}", "c")["name"] == "x"


ROUND_TRIPS = [
    ("local_shell", {"type": "local_shell"}, {"command": ["ls", "-l"], "env": {}, "timeout_ms": 10}),
    ("shell", {"type": "shell"}, {"commands": ["ls"], "max_output_length": 100}),
    ("apply_patch", {"type": "apply_patch"}, {"type": "update_file", "path": "a", "diff": "@@"}),
    ("apply_patch", {"type": "apply_patch"}, {"type": "delete_file", "path": "a"}),
    ("computer", {"type": "computer"}, {"actions": [{"type": "click", "button": "left", "x": 1, "y": 2}]}),
    (
        "computer_use_preview",
        {
            "type": "computer_use_preview",
            "environment": "linux",
            "display_width": 1024,
            "display_height": 768,
        },
        {"type": "type", "text": "Hi"},
    ),
    ("tool_search", {"type": "tool_search", "execution": "client"}, {"query": "mail"}),
]


@pytest.mark.parametrize(("name", "tool", "arguments"), ROUND_TRIPS)
def test_calls_of_built_in_tools_become_items_and_functions_again(
    name: str, tool: JSON, arguments: JSON
) -> None:
    tools = RequestTools.of([tool], "auto", [])

    item = tools.item(name, json.dumps(arguments), "call_1")

    assert item["call_id"] == "call_1"
    function, sent = tools.function_call(item)
    assert (function, json.loads(sent)) == (name, arguments)


@pytest.mark.parametrize(
    ("tools", "choice", "sent"),
    [
        ([WEATHER], None, "auto"),
        ([WEATHER], "required", "required"),
        ([], "auto", None),
        (
            [WEATHER],
            {"type": "function", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
        (
            [PATCH],
            {"type": "custom", "name": "apply_patch"},
            {"type": "function", "function": {"name": "apply_patch"}},
        ),
        ([{"type": "shell"}], {"type": "shell"}, {"type": "function", "function": {"name": "shell"}}),
        (
            [MAIL],
            {"type": "function", "name": "send"},
            {"type": "function", "function": {"name": "mail__send"}},
        ),
        ([{"type": "file_search"}], {"type": "file_search"}, {"type": "file_search"}),
    ],
)
def test_a_choice_is_chats(tools: list[JSON], choice: Any, sent: Any) -> None:
    assert RequestTools.of(tools, choice, []).choice == sent


def test_allowed_tools_leave_out_the_others() -> None:
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "weather"}],
    }
    tools = RequestTools.of([WEATHER, PATCH, {"type": "file_search"}], allowed, [])

    assert names(tools) == ["weather"]
    assert tools.server == []
    assert tools.choice == "required"


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "function", "name": "x"}, "tool_choice"),
        ({"type": "shell"}, "tool_choice"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "x"}]},
            "tool_choice.tools[0]",
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": {}}]}, "tool_choice.tools[0].type"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{}]}, "tool_choice.tools[0].type"),
    ],
)
def test_a_choice_of_no_tool_is_refused(choice: JSON, param: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        RequestTools.of([WEATHER], choice, [])

    assert refused.value.param == param


def test_a_forced_choice_needs_tools() -> None:
    with pytest.raises(ItemRefused):
        RequestTools.of([], "required", [])


@pytest.mark.parametrize(
    "arguments",
    ['{"x":' * 3000, '{"query":' + "[" * 900 + "]" * 900 + "}", '{"query":"\\ud83d"}', '{"query":NaN}'],
    ids=["broken", "deep", "half a character", "NaN"],
)
def test_arguments_that_no_encoder_takes_are_no_members(arguments: str) -> None:
    tools = RequestTools.of([WEATHER, {"type": "tool_search", "execution": "client"}], "auto", [])

    item = tools.item("tool_search", arguments, "call_1")
    call = {"type": "function_call", "call_id": "call_2", "name": "weather", "arguments": "[" * 3000}

    assert item["arguments"] == {}
    assert json.loads(tools.function_call(call)[1]) == {"arguments": "[" * 3000}
