import json

import openai
import pytest
from conftest import MODEL, script
from openai import AssistantEventHandler, OpenAI

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def thread_saying(client: OpenAI, *turns: dict):
    return client.beta.threads.create(messages=[{"role": "user", "content": script(*turns)}])


def test_the_ten_lines_of_the_readme_print_the_answer(client: OpenAI, assistant) -> None:
    thread = thread_saying(client, {"text": "Because blue light is scattered most."})
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        printed = "".join(stream.text_deltas)
    assert printed == "Because blue light is scattered most."
    answer = client.beta.threads.messages.list(thread.id).data[0]
    assert (answer.role, answer.content[0].text.value, answer.assistant_id) == (
        "assistant",
        printed,
        assistant.id,
    )


def test_a_background_run_completes_with_usage(client: OpenAI, assistant) -> None:
    thread = thread_saying(client, {"text": "Done."})
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
    )
    assert run.status == "completed"
    assert run.usage.total_tokens == run.usage.prompt_tokens + run.usage.completion_tokens > 0
    assert (
        client.beta.threads.messages.list(thread.id, run_id=run.id).data[0].content[0].text.value == "Done."
    )
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert [(step.type, step.status) for step in steps] == [("message_creation", "completed")]


def test_events_come_in_openais_order(client: OpenAI, assistant) -> None:
    thread = thread_saying(client, {"text": "a b"})
    events = list(
        client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True)
    )
    folded = [name for i, name in enumerate(e.event for e in events) if i == 0 or name != events[i - 1].event]
    assert folded == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]
    run, message = events[-1].data, next(e.data for e in events if e.event == "thread.message.completed")
    assert client.beta.threads.runs.retrieve(run.id, thread_id=thread.id) == run
    assert client.beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message


def test_a_function_is_called_and_its_output_used(client: OpenAI) -> None:
    assistant = client.beta.assistants.create(model=MODEL, tools=[TOOL])
    thread = thread_saying(
        client,
        {
            "calls": [
                {"name": "get_weather", "arguments": {"city": "Paris"}},
                {"name": "get_weather", "arguments": {"city": "Rome"}},
            ]
        },
        {"text": "It is {tool}."},
    )
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
    )
    assert run.status == "requires_action"
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Rome"]
    assert len({call.id for call in calls}) == 2
    with pytest.raises(openai.BadRequestError):
        client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": calls[0].id, "output": "sunny"}]
        )
    with pytest.raises(openai.BadRequestError):
        client.beta.threads.messages.create(thread.id, role="user", content="too early")
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread.id,
        tool_outputs=[{"tool_call_id": call.id, "output": "sunny"} for call in calls],
        poll_interval_ms=50,
    )
    assert done.status == "completed"
    assert client.beta.threads.messages.list(thread.id).data[0].content[0].text.value == "It is sunny."


def test_an_event_handler_follows_a_tool_call_to_the_answer(client: OpenAI) -> None:
    assistant = client.beta.assistants.create(model=MODEL, tools=[TOOL])
    thread = thread_saying(
        client, {"calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]}, {"text": "Snow."}
    )
    seen: list[str] = []

    class Handler(AssistantEventHandler):
        def on_event(self, event) -> None:
            if event.event != "thread.run.requires_action":
                return
            calls = event.data.required_action.submit_tool_outputs.tool_calls
            outputs = [{"tool_call_id": call.id, "output": "-3"} for call in calls]
            with client.beta.threads.runs.submit_tool_outputs_stream(
                thread_id=event.data.thread_id,
                run_id=event.data.id,
                tool_outputs=outputs,
                event_handler=Handler(),
            ) as stream:
                stream.until_done()

        def on_text_delta(self, delta, snapshot) -> None:
            seen.append(delta.value)

    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=Handler()
    ) as stream:
        stream.until_done()
    assert "".join(seen) == "Snow."


async def test_the_asynchronous_client_streams_too(async_client, client: OpenAI, assistant) -> None:
    thread = thread_saying(client, {"text": "Hello there."})
    async with async_client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id
    ) as stream:
        printed = "".join([text async for text in stream.text_deltas])
    assert printed == "Hello there."


def test_a_run_can_be_created_with_its_thread(client: OpenAI, assistant) -> None:
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": script({"text": "Yes."})}]},
        poll_interval_ms=50,
    )
    assert run.status == "completed"
    assert client.beta.threads.messages.list(run.thread_id).data[0].content[0].text.value == "Yes."


def test_overrides_take_effect_and_are_shown(client: OpenAI, assistant) -> None:
    thread = thread_saying(client, {"text": "one two three four"})
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=assistant.id,
        model="another-model",
        instructions="Say less.",
        max_completion_tokens=256,
        temperature=0.1,
        top_p=0.2,
        metadata={"k": "v"},
        truncation_strategy={"type": "last_messages", "last_messages": 1},
        poll_interval_ms=50,
    )
    assert (run.model, run.instructions, run.temperature, run.top_p) == (
        "another-model",
        "Say less.",
        0.1,
        0.2,
    )
    assert (run.metadata, run.max_completion_tokens, run.truncation_strategy.last_messages) == (
        {"k": "v"},
        256,
        1,
    )
    assert run.status == "completed"


def test_a_failing_provider_fails_the_run_and_leaves_the_thread_usable(client: OpenAI, assistant) -> None:
    thread = thread_saying(client, {"fail": {"status": 400, "message": "no such thing"}})
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
    )
    assert run.status == "failed"
    assert run.last_error.code in ("invalid_prompt", "server_error")
    client.beta.threads.messages.create(thread.id, role="user", content=script({"text": "Better."}))
    again = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
    )
    assert again.status == "completed"


def test_a_run_can_be_cancelled(client: OpenAI, assistant) -> None:
    thread = thread_saying(client, {"text": "slow answer", "delay": 30})
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    assert client.beta.threads.runs.cancel(run.id, thread_id=thread.id).status in ("cancelling", "cancelled")
    assert (
        client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=50).status == "cancelled"
    )
