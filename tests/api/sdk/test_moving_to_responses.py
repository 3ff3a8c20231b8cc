"""RESPONSES.md's program moves from a thread to a conversation."""

import re
from pathlib import Path

import pytest
from conftest import MODEL, script
from openai import OpenAI

pytest.importorskip("openai.types.conversations", reason="older SDKs know no conversations")

PAGE = Path(__file__).parents[3] / "RESPONSES.md"
PROGRAM = re.search(r"```python\n(from openai.types.conversations.*?)```", PAGE.read_text(), re.DOTALL)[1]
WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
CALL = {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}


def answer(name: str, arguments: str) -> str:
    return f"{name}: sunny, {arguments}"


def test_a_program_goes_on_with_a_threads_conversation(client: OpenAI) -> None:
    assistant = client.beta.assistants.create(
        model=MODEL, instructions="Be brief.", tools=[{"type": "function", "function": WEATHER}]
    )
    asked = script(CALL, {"text": "It is {find:sunny}."})
    thread = client.beta.threads.create(messages=[{"role": "user", "content": asked}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "sunny"}]
    )
    names = {"client": client, "assistant": assistant, "thread_id": thread.id, "answer": answer}

    again = script(CALL, {"text": "{find:sunny} again."})
    exec(PROGRAM.replace('"And tomorrow?"', repr(again)), names)

    assert names["response"].output_text == "sunny again."
    items = list(client.conversations.items.list(names["conversation"].id, order="asc"))
    assert [item.type for item in items] == [
        *("message", "function_call", "function_call_output", "message"),  # the thread's
        *("message", "function_call", "function_call_output", "message"),
    ]
    said = [message.id for message in client.beta.threads.messages.list(thread.id, order="asc")]
    assert [items[0].id, items[3].id] == said
    assert items[1].call_id == call.id
    assert items[4].content[0].text == again
