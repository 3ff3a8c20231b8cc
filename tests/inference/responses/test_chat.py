"""Items become the chat messages that any model understands."""

import json

import pytest

from inference.responses.chat import chat_messages
from inference.responses.items import stored_items
from inference.responses.tools import RequestTools
from persistence.types import JSON


class Files:
    """Images and files by their names."""

    def image_by_url(self, image: JSON) -> JSON:
        return {"type": "image_url", "image_url": image}

    async def image_by_id(self, image: JSON) -> JSON:
        return {"type": "image_url", "image_url": {"url": f"data:{image['file_id']}"}}

    async def file_by_data(self, data: str, filename: str) -> JSON:
        return {"type": "file", "file": {"file_data": data, "filename": filename}}

    async def file_by_url(self, url: str, filename: str | None) -> JSON:
        return {"type": "file", "file": {"file_data": url, "filename": filename}}

    async def file_by_id(self, file_id: str) -> JSON:
        return {"type": "file", "file": {"file_data": f"data:{file_id}", "filename": "a.pdf"}}


async def messages(items: str | list[JSON], tools: RequestTools | None = None) -> list[JSON]:
    return await chat_messages(stored_items(items, lambda prefix: f"{prefix}1"), Files(), tools)


def call(call_id: str, name: str = "f", arguments: str = "{}") -> JSON:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str, text: str | list[JSON]) -> JSON:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def tool_call(call_id: str, name: str = "f", arguments: str = "{}") -> JSON:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


async def test_a_text_is_a_message_of_the_user() -> None:
    assert await messages("Hello") == [{"role": "user", "content": "Hello"}]


async def test_a_developer_speaks_as_the_system() -> None:
    assert await messages([{"role": "developer", "content": "Be brief."}]) == [
        {"role": "system", "content": "Be brief."}
    ]


async def test_reasoning_message_and_calls_of_a_turn_are_one_message() -> None:
    sent = await messages(
        [
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "summary": [], "content": None},
            {"role": "assistant", "content": "I look."},
            call("a"),
            call("b"),
            output("b", "rain"),
            output("a", "sun"),
            {"role": "assistant", "content": "Both."},
        ]
    )

    assert sent == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [tool_call("a"), tool_call("b")]},
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
        {"role": "assistant", "content": "Both."},
    ]


async def test_a_call_behind_an_output_begins_a_new_turn() -> None:
    sent = await messages([call("a"), output("a", "1"), call("b"), output("b", "2")])

    assert [one["role"] for one in sent] == ["assistant", "tool", "assistant", "tool"]


async def test_calls_of_different_turns_may_share_an_id() -> None:
    sent = await messages([call("a"), output("a", "1"), call("a"), output("a", "2")])

    assert [one["content"] for one in sent] == [None, "1", None, "2"]


async def test_an_output_without_its_call_is_left_out() -> None:
    assert await messages([output("a", "1"), {"role": "user", "content": "Hi"}]) == [
        {"role": "user", "content": "Hi"}
    ]


async def test_images_of_an_output_follow_as_the_users() -> None:
    image = {"type": "input_image", "image_url": "https://a.example/x.png"}
    sent = await messages([call("a"), output("a", [{"type": "input_text", "text": "Here."}, image])])

    assert sent[1]["content"].startswith("Here.\n[Images")
    assert sent[2]["role"] == "user"
    assert sent[2]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "https://a.example/x.png", "detail": "auto"},
    }


async def test_images_and_files_are_parts() -> None:
    parts = [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "b.pdf"},
    ]
    (message,) = await messages([{"role": "user", "content": parts}])

    assert message["content"] == [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": "data:file-1"}},
        {"type": "file", "file": {"file_data": "data:file-2", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "b.pdf"}},
    ]


async def test_custom_calls_and_calls_in_namespaces_are_functions() -> None:
    space = {"type": "namespace", "name": "mail", "description": "Mail.", "tools": []}
    space["tools"] = [{"type": "function", "name": "send", "parameters": {}, "strict": None}]
    tools = RequestTools.of([space], "auto", [])
    sent = await messages(
        [
            {"type": "custom_tool_call", "call_id": "a", "name": "exec", "input": "1 + 1"},
            {**call("b", "send"), "namespace": "mail"},
        ],
        tools,
    )

    assert sent[0]["tool_calls"] == [
        tool_call("a", "exec", '{"input":"1 + 1"}'),
        tool_call("b", "mail__send"),
    ]


async def test_a_file_search_shows_its_results_again() -> None:
    search = {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["tea"]}
    search["results"] = [{"file_id": "file-1", "filename": "tea.txt", "text": "Green.", "score": 0.5}]
    sent = await messages([search, {"role": "assistant", "content": "Green."}])

    assert sent == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [tool_call("fs_1", "file_search", '{"queries":["tea"]}')],
        },
        {"role": "tool", "tool_call_id": "fs_1", "content": "tea.txt\nGreen."},
        {"role": "assistant", "content": "Green."},
    ]


async def test_a_refusal_is_what_the_model_said() -> None:
    parts = [{"type": "refusal", "refusal": "No."}]

    assert await messages([{"role": "assistant", "content": parts}]) == [
        {"role": "assistant", "content": "No."}
    ]


HOSTED: list[tuple[JSON, str, JSON, str]] = [
    (
        {"type": "web_search_call", "action": {"type": "search", "query": "tea"}},
        "web_search",
        {"queries": ["tea"]},
        "[The results are no longer there.]",
    ),
    (
        {
            "type": "code_interpreter_call",
            "container_id": "cntr_1",
            "code": "1",
            "outputs": [{"type": "logs", "logs": "1"}],
        },
        "code_interpreter",
        {"code": "1"},
        "1",
    ),
    (
        {
            "type": "mcp_call",
            "server_label": "mail",
            "name": "send",
            "arguments": '{"a":1}',
            "output": "Sent.",
        },
        "mail__send",
        {"a": 1},
        "Sent.",
    ),
    (
        {
            "type": "mcp_call",
            "server_label": "mail",
            "name": "send",
            "arguments": "",
            "error": {"type": "http_error", "code": 500, "message": "Down."},
        },
        "mail__send",
        {},
        "Error: Down.",
    ),
]


@pytest.mark.parametrize(("item", "name", "arguments", "text"), HOSTED)
async def test_a_call_that_a_server_answered_is_one_of_a_function(
    item: JSON, name: str, arguments: JSON, text: str
) -> None:
    assistant, tool = await messages([item])

    (call,) = assistant["tool_calls"]
    assert call["function"]["name"] == name
    assert json.loads(call["function"]["arguments"]) == arguments
    assert tool == {"role": "tool", "tool_call_id": call["id"], "content": text}


async def test_a_generated_image_is_seen_by_the_model() -> None:
    item = {"type": "image_generation_call", "revised_prompt": "A cat.", "result": "AA=="}
    sent = await messages([item, {"role": "user", "content": "Make it blue."}])

    assert [one["role"] for one in sent] == ["assistant", "tool", "user", "user"]
    assert sent[2]["content"][1]["image_url"]["url"] == "data:image/png;base64,AA=="


OUTPUTS: list[tuple[JSON, JSON, str]] = [
    (
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
        {
            "type": "shell_call_output",
            "call_id": "c",
            "output": [
                {"stdout": "a", "stderr": "b", "outcome": {"type": "exit", "exit_code": 1}},
                {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
            ],
        },
        "a\nb\n[exit code 1]\n[timed out]",
    ),
    (
        {
            "type": "apply_patch_call",
            "call_id": "c",
            "operation": {"type": "delete_file", "path": "a"},
        },
        {"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": "No such file."},
        "failed\nNo such file.",
    ),
    (
        {
            "type": "local_shell_call",
            "call_id": "c",
            "action": {"type": "exec", "command": ["ls"], "env": {}},
        },
        {"type": "local_shell_call_output", "id": "c", "output": "a"},
        "a",
    ),
    (
        {"type": "tool_search_call", "call_id": "c", "arguments": {"query": "mail"}},
        {"type": "tool_search_output", "call_id": "c", "tools": [{"type": "function", "name": "send"}]},
        "Tools that are available now: send.",
    ),
    (
        {"type": "custom_tool_call", "call_id": "c", "name": "exec", "input": "1"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]},
        "1",
    ),
    (
        {"type": "program", "call_id": "c", "code": "1", "fingerprint": "x"},
        {"type": "program_output", "call_id": "c", "result": "1"},
        "1",
    ),
]


@pytest.mark.parametrize(("made", "answer", "text"), OUTPUTS)
async def test_the_output_of_any_call_is_a_text(made: JSON, answer: JSON, text: str) -> None:
    assistant, tool = await messages([made, answer])

    assert assistant["tool_calls"][0]["id"] == "c"
    assert tool == {"role": "tool", "tool_call_id": "c", "content": text}


async def test_an_unsealed_compaction_is_its_summary() -> None:
    compaction = {"id": "cmp_1", "type": "compaction", "encrypted_content": "x", "summary_text": "Tea."}

    assert await chat_messages([compaction], Files(), None) == [{"role": "user", "content": "Tea."}]


async def test_thinking_blocks_go_back_with_the_calls_of_their_turn() -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [], "blocks": [block]}
    items = [reasoning, *stored_items([call("a"), output("a", "1")], lambda prefix: prefix)]

    assert (await chat_messages(items, Files(), None))[0]["thinking_blocks"] == [block]


@pytest.mark.parametrize(
    "reasoning",
    [
        {"summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"summary": [], "encrypted_content": "x", "text": "Hm."},
    ],
)
async def test_reasoning_without_signatures_goes_back_as_text_with_calls_only(reasoning: JSON) -> None:
    thought = {"id": "rs_1", "type": "reasoning", **reasoning}
    items = stored_items([call("a"), output("a", "1")], lambda prefix: prefix)
    said = stored_items([{"role": "assistant", "content": "Hi"}], lambda prefix: prefix)

    with_call, _, answer = await chat_messages([thought, *items, thought, *said], Files(), None)

    assert with_call["reasoning_content"] == "Hm."
    assert answer == {"role": "assistant", "content": "Hi"}


async def test_what_a_provider_wants_back_goes_with_the_call() -> None:
    items = stored_items([call("a"), output("a", "1")], lambda prefix: prefix)
    items[0]["extra"] = {"thought_signature": "x"}

    (sent,) = (await chat_messages(items, Files(), None))[0]["tool_calls"]

    assert sent == {**tool_call("a"), "thought_signature": "x"}


APPROVAL = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "mail",
    "name": "send",
    "arguments": "{}",
}


async def test_a_call_that_the_user_did_not_approve_says_so() -> None:
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}

    assert await messages([APPROVAL, answer]) == [
        {"role": "assistant", "content": None, "tool_calls": [tool_call("mcpr_1", "mail__send")]},
        {"role": "tool", "tool_call_id": "mcpr_1", "content": "The user did not approve this call."},
    ]


async def test_a_call_that_was_approved_is_the_call_itself() -> None:
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}

    assert await messages([APPROVAL, answer]) == []


@pytest.mark.parametrize("arguments", ['{"a":', "[]", "null", "x"])
async def test_arguments_that_are_no_object_do_not_end_a_conversation(arguments: str) -> None:
    sent = await messages([call("a", arguments=arguments), output("a", "Bad arguments.")])

    assert json.loads(sent[0]["tool_calls"][0]["function"]["arguments"]) == {"arguments": arguments}
