import json
from typing import Any

import pytest

from inference.gateway import ChunkAccumulator
from inference.gateway.drivers.local_functions import Call, candidates, without_functions
from persistence.types import JSON

QUESTION = {"role": "user", "content": "Why?"}


def tool(name: str, **properties: JSON) -> JSON:
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": properties}},
    }


def asked(*messages: JSON, **fields: Any) -> JSON:
    return {"model": "local", "messages": list(messages) or [QUESTION], **fields}


def names(request: JSON) -> list[str]:
    return [call.name for call in candidates(request)]


def test_a_function_is_called_if_the_request_forces_it() -> None:
    tools = [tool("f"), tool("g")]
    forced = {"type": "function", "function": {"name": "g"}}
    assert names(asked(tools=tools, tool_choice=forced)) == ["g"]
    assert names(asked(tools=tools, tool_choice="required")) == ["f", "g"]
    assert names(asked(tools=tools, tool_choice="auto")) == []
    assert names(asked(tools=tools)) == []
    assert names(asked()) == []


def test_file_search_is_called_once_for_a_question_with_its_words() -> None:
    request = asked(tools=[tool("f"), tool("file_search")])
    (call,) = candidates(request)
    assert (call.name, json.loads(call.arguments or "")) == ("file_search", {"queries": ["Why?"]})
    found: list[JSON] = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "tool", "tool_call_id": "c", "content": "Because."},
    ]
    assert candidates(asked(QUESTION, *found, tools=request["tools"])) == []
    answered: list[JSON] = [
        *found,
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "Who?"},
    ]
    (again,) = candidates(asked(QUESTION, *answered, tools=request["tools"]))
    assert json.loads(again.arguments or "") == {"queries": ["Who?"]}
    assert candidates({**request, "tool_choice": "none"}) == []


def test_results_of_functions_are_written_into_the_question() -> None:
    request = asked(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "tool", "tool_call_id": "c", "content": "Because."},
        tools=[tool("f")],
        tool_choice="auto",
        temperature=0,
    )
    assert without_functions(request) == {
        "model": "local",
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": "Use the following to answer the question.\n\nBecause.\n\nQuestion: Why?\nAnswer:",
            },
        ],
    }
    assert request["messages"][1]["content"] == [{"type": "text", "text": "Why?"}]


def test_a_known_call_is_the_same_streamed_or_not() -> None:
    call = Call("f", {}, '{"x":1}', "call_1")
    accumulator = ChunkAccumulator()
    for chunk in call.chunks({"stream_options": {"include_usage": True}}):
        accumulator.add(chunk)
    for completion in (call.completion(), accumulator.completion()):
        (choice,) = completion["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        assert choice["message"]["tool_calls"] == [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
        ]
        assert completion["usage"]["total_tokens"] == 0


@pytest.mark.parametrize("reason", ["length", "stop"])
def test_arguments_that_were_cut_off_have_the_finish_reason_length(reason: str) -> None:
    choice = {"index": 0, "message": {"content": '{"x":'}, "finish_reason": reason}
    answered = Call("f", {}).answer({"choices": [choice]})
    expected = "length" if reason == "length" else "tool_calls"
    assert answered["choices"][0]["finish_reason"] == expected
