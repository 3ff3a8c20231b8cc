"""Tools of callers: a model that knows functions only calls them, and the caller sees items of each tool."""

import json
from typing import Any

import httpx
import pytest

from persistence.types import JSON
from tests.provider import ProviderProcess
from tests.spec.sent_items import FUNCTION, UUID

pytestmark = pytest.mark.server

MAIL = {"type": "namespace", "name": "mail", "description": "Mail.", "tools": [FUNCTION]}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}
WEB_SEARCH = {"type": "web_search", "external_web_access": False, "search_content_types": ["text"]}
TOOL_SEARCH = {
    "type": "tool_search",
    "execution": "client",
    "description": "Searches tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
CODEX = [FUNCTION, MAIL, WEB_SEARCH, PATCH, TOOL_SEARCH]


def script(tag: str, *turns: JSON) -> JSON:
    text = f"script: {json.dumps({'tag': tag, 'turns': turns})}"
    return {"type": "message", "id": f"msg_{UUID}", "role": "user", "content": [text_part(text)]}


def text_part(text: str) -> JSON:
    return {"type": "input_text", "text": text}


def called(name: str, arguments: JSON) -> JSON:
    return {"calls": [{"name": name, "arguments": arguments, "id": "call_1"}]}


def answered(http: httpx.Client, request: JSON) -> JSON:
    answer = http.post("responses", json={"model": "m", **request})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


CALLS: list[tuple[str, list[JSON], JSON, JSON, JSON, str]] = [
    (
        "a function",
        CODEX,
        called("exec_command", {"cmd": "ls"}),
        {"type": "function_call", "name": "exec_command", "arguments": '{"cmd": "ls"}'},
        {"type": "function_call_output", "output": "a.txt"},
        "a.txt",
    ),
    (
        "a function of a namespace",
        CODEX,
        called("mail__exec_command", {"cmd": "ls"}),
        {
            "type": "function_call",
            "name": "exec_command",
            "namespace": "mail",
            "arguments": '{"cmd": "ls"}',
        },
        {"type": "function_call_output", "output": [text_part("a.txt")]},
        "a.txt",
    ),
    (
        "a custom tool",
        CODEX,
        called("apply_patch", {"input": "*** Begin Patch"}),
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch"},
        {"type": "custom_tool_call_output", "output": "Done."},
        "Done.",
    ),
    (
        "a search of tools",
        CODEX,
        called("tool_search", {"query": "mail"}),
        {"type": "tool_search_call", "execution": "client", "arguments": {"query": "mail"}},
        {
            "type": "tool_search_output",
            "execution": "client",
            "status": "completed",
            "tools": [{**FUNCTION, "name": "found", "defer_loading": True}],
        },
        "Tools that are available now: found.",
    ),
    (
        "a local shell",
        [{"type": "local_shell"}],
        called("local_shell", {"command": ["ls"]}),
        {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "function_call_output", "output": "a.txt"},
        "a.txt",
    ),
    (
        "a shell",
        [{"type": "shell"}],
        called("shell", {"commands": ["ls"]}),
        {
            "type": "shell_call",
            "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None},
            "environment": None,
        },
        {
            "type": "shell_call_output",
            "output": [{"stdout": "a.txt", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
        },
        "a.txt\n[exit code 0]",
    ),
    (
        "a patch",
        [{"type": "apply_patch"}],
        called("apply_patch", {"type": "delete_file", "path": "a.txt"}),
        {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a.txt"}},
        {"type": "apply_patch_call_output", "status": "completed", "output": "Deleted."},
        "completed\nDeleted.",
    ),
]


@pytest.mark.parametrize(
    ("tools", "turn", "item", "output", "text"),
    [case[1:] for case in CALLS],
    ids=[case[0] for case in CALLS],
)
def test_a_tool_of_the_caller_works_on_any_model(
    http: httpx.Client,
    provider: ProviderProcess,
    tag: str,
    tools: list[JSON],
    turn: JSON,
    item: JSON,
    output: JSON,
    text: str,
) -> None:
    question = script(tag, turn, {"text": "Done."})
    request: JSON = {"tools": tools, "tool_choice": "auto", "store": False}

    first = answered(http, {**request, "input": [question]})

    (call,) = first["output"]
    assert call == {"id": call["id"], "call_id": "call_1", "status": "completed", **item}
    second = answered(http, {**request, "input": [question, call, {**output, "call_id": "call_1"}]})
    assert second["output"][0]["content"][0]["text"] == "Done."
    _, sent = provider.received(tag)
    assistant, answer = sent["body"]["messages"][-2:]
    assert assistant["tool_calls"][0]["function"]["name"] == turn["calls"][0]["name"]
    assert answer == {"role": "tool", "tool_call_id": "call_1", "content": text}


def test_tools_of_an_item_are_offered_to_the_model(
    http: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    brought = {"type": "additional_tools", "role": "developer", "tools": [MAIL, {**PATCH, "name": "exec"}]}
    question = script(tag, called("exec", {"input": "1 + 1"}))

    answer = answered(http, {"input": [brought, question], "tool_choice": "auto"})

    (call,) = answer["output"]
    assert (call["type"], call["name"], call["input"]) == ("custom_tool_call", "exec", "1 + 1")
    (sent,) = provider.received(tag)
    names = [tool["function"]["name"] for tool in sent["body"]["tools"]]
    assert names == ["mail__exec_command", "exec"]


def test_a_call_continues_by_the_previous_response(
    http: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    question = script(tag, called("apply_patch", {"input": "x"}), {"text": "Done."})
    first = answered(http, {"input": [question], "tools": [PATCH]})
    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Ok."}

    second = answered(http, {"input": [output], "tools": [PATCH], "previous_response_id": first["id"]})

    assert second["output"][0]["content"][0]["text"] == "Done."


REFUSED: list[tuple[JSON, str, str]] = [
    (
        {"input": [{"type": "function_call_output", "call_id": "call_x", "output": "1"}]},
        "No tool call found for function call output with call_id call_x.",
        "input",
    ),
    (
        {
            "input": [
                {"type": "function_call", "call_id": "call_x", "name": "f", "arguments": "{}"},
                {"role": "user", "content": "And?"},
            ]
        },
        "No tool output found for function call call_x.",
        "input",
    ),
    (
        {"input": [{"type": "message", "id": "msg_x", "role": "user", "content": "Hi"}] * 2},
        "Duplicate item found with id msg_x. Remove duplicate items from your input and try again.",
        "input",
    ),
    (
        {"input": "Hi", "tools": [FUNCTION], "tool_choice": {"type": "function", "name": "x"}},
        "Tool choice 'x' not found in 'tools' parameter.",
        "tool_choice",
    ),
    (
        {"input": "Hi", "reasoning": {"mode": "pro"}},
        "This server does not support 'pro' as 'reasoning.mode'.",
        "reasoning.mode",
    ),
    (
        {"input": "Hi", "tools": [{**FUNCTION, "allowed_callers": ["programmatic"]}]},
        "This server does not support 'tools[0].allowed_callers' without 'direct'.",
        "tools[0].allowed_callers",
    ),
    (
        {"input": "Hi", "tools": [FUNCTION, {"type": "web_search"}]},
        (
            "The tool 'web_search' is not available on this server: its operator has named no search service "
            "(ASTROLABE_SEARCH_SERVICE)."
        ),
        "tools[1]",
    ),
    (
        {"input": "Hi", "tools": [FUNCTION, {"type": "shell", "environment": {"type": "container_auto"}}]},
        "This server does not run the tool 'shell'.",
        "tools[1]",
    ),
]


@pytest.mark.parametrize(("request_", "message", "param"), REFUSED)
def test_what_fits_nothing_is_refused_by_name(
    http: httpx.Client, request_: dict[str, Any], message: str, param: str
) -> None:
    answer = http.post("responses", json={"model": "m", **request_})

    error = answer.json()["error"]
    assert (answer.status_code, error["message"], error["param"]) == (400, message, param)


@pytest.mark.parametrize("operation", ["responses", "responses/input_tokens", "responses/compact"])
def test_files_that_do_not_exist_and_broken_image_urls_are_refused(
    http: httpx.Client, operation: str
) -> None:
    def refused(part: JSON) -> tuple[int, str]:
        item = {"role": "user", "content": [text_part("Look."), part]}
        answer = http.post(operation, json={"model": "m", "input": [item]})
        return answer.status_code, answer.json()["error"]["param"]

    at = "input[0].content[1]"
    assert refused({"type": "input_file", "file_id": "file-1"}) == (404, f"{at}.file_id")
    assert refused({"type": "input_image", "file_id": "file-1"}) == (404, f"{at}.file_id")
    image = {"type": "input_image", "image_url": "file:///etc/passwd"}
    assert refused(image) == (400, f"{at}.image_url")


def test_a_call_with_deeply_nested_arguments_can_be_answered(http: httpx.Client) -> None:
    call = {"calls": [{"name": "exec_command", "arguments": "[" * 3000 + "]" * 3000, "id": "call_1"}]}
    asked = {"input": [script("deep", call, {"text": "Done."})], "tools": [FUNCTION]}
    first = answered(http, asked)

    output = {"type": "function_call_output", "call_id": "call_1", "output": "Too deep."}
    second = answered(http, {"previous_response_id": first["id"], "input": [output], "tools": [FUNCTION]})

    assert second["output"][0]["content"][0]["text"] == "Done."


def test_generate_summary_is_an_older_name_of_summary(http: httpx.Client) -> None:
    script = "script: " + json.dumps({"turns": [{"text": "Tea.", "reasoning": "Hm."}]})
    request = {"model": "m", "input": script, "reasoning": {"generate_summary": "concise"}}
    thought = http.post("responses", json=request).json()["output"][0]

    assert thought["summary"] == [{"type": "summary_text", "text": "Hm."}]


def test_the_commands_of_a_shell_are_events(http: httpx.Client) -> None:
    question = "script: " + json.dumps({"turns": [called("shell", {"commands": ["ls", "pwd"]})]})
    request = {"model": "m", "input": question, "tools": [{"type": "shell"}], "stream": True}
    lines = http.post("responses", json=request).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    commands = [event for event in events if "shell_call_command" in event["type"]]
    kinds = [event["type"].rpartition(".")[2] for event in commands]
    assert kinds == ["added", "delta", "done", "added", "delta", "done"]
    assert [event["command_index"] for event in commands] == [0, 0, 0, 1, 1, 1]
    assert (commands[1]["delta"], commands[5]["command"]) == ("ls", "pwd")
