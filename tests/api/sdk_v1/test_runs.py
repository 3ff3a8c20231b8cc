from conftest import MODEL, V2, script
from openai import AssistantEventHandler, AsyncOpenAI, OpenAI

STORMS = "All about winter storms. They break the harbour's wall every year."
SEARCH = {"calls": [{"name": "file_search", "arguments": {"queries": ["winter storms"]}}]}
CITING = script(SEARCH, {"text": "Walls break {find:【0:\\d†storms.txt】}."})
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class Recorder(AssistantEventHandler):
    """Keeps what an application's handler is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.text, self.calls = [], "", []

    def on_event(self, event) -> None:
        self.names.append(event.event)

    def on_text_delta(self, delta, snapshot) -> None:
        self.text += delta.value or ""

    def on_tool_call_done(self, tool_call) -> None:
        self.calls.append(tool_call)


def test_a_retrieval_run_cites_its_file(client: OpenAI, v2: V2, upload) -> None:
    file = upload("storms.txt", STORMS)
    assistant = client.beta.assistants.create(model=MODEL, tools=[{"type": "retrieval"}], file_ids=[file])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": CITING}])

    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, tool_choice={"type": "retrieval"}, poll_interval_ms=50
    )

    assert (run.status, run.file_ids, [tool.type for tool in run.tools]) == (
        "completed",
        [file],
        ["retrieval"],
    )
    assert run.tool_choice.type == "retrieval"
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc").data
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    [call] = steps[0].step_details.tool_calls
    assert (call.type, call.retrieval) == ("retrieval", {})
    message = client.beta.threads.messages.list(thread.id, limit=1).data[0]
    [annotation] = message.content[0].text.annotations
    assert annotation.file_citation.file_id == file
    assert annotation.file_citation.quote in STORMS
    later = v2.get(f"/threads/{thread.id}/runs/{run.id}")
    assert [tool["type"] for tool in later["tools"]] == ["file_search"]
    assert v2.get(f"/threads/{thread.id}/messages?limit=1")["data"][0]["id"] == message.id


def test_a_streamed_retrieval_run_tells_its_handler_of_each_call(client: OpenAI, upload) -> None:
    file = upload("storms.txt", STORMS)
    assistant = client.beta.assistants.create(model=MODEL, tools=[{"type": "retrieval"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": CITING, "file_ids": [file]}])
    recorder = Recorder()

    with client.beta.threads.runs.create_and_stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder
    ) as stream:
        stream.until_done()

    assert {call.type for call in recorder.calls} == {"retrieval"}  # this SDK calls it more than once
    [message] = stream.get_final_messages()
    assert recorder.text == message.content[0].text.value
    assert message.content[0].text.annotations[0].file_citation.file_id == file
    assert recorder.names[0] == "thread.run.created"
    assert "thread.run.step.delta" in recorder.names
    assert recorder.names[-1] == "thread.run.completed"
    assert stream.get_final_run().status == "completed"


def test_a_thread_and_its_streamed_run_are_of_version_1(client: OpenAI) -> None:
    assistant = client.beta.assistants.create(model=MODEL)
    thread = {"messages": [{"role": "user", "content": "Hello"}]}
    with client.beta.threads.create_and_run_stream(assistant_id=assistant.id, thread=thread) as stream:
        events = {event.event: event.data for event in stream}
    assert set(events["thread.created"].model_dump()) == {"id", "created_at", "metadata", "object"}
    assert not hasattr(events["thread.run.created"], "parallel_tool_calls")
    assert events["thread.run.created"].file_ids == []
    assert events["thread.message.completed"].file_ids == []
    assert "thread.run.completed" in events


def test_an_incomplete_run_is_completed_with_its_reason(client: OpenAI, v2: V2) -> None:
    assistant = client.beta.assistants.create(model=MODEL)
    turn = {"text": "Cut off", "finish_reason": "length"}
    thread = client.beta.threads.create(messages=[{"role": "user", "content": script(turn)}])
    recorder = Recorder()
    with client.beta.threads.runs.create_and_stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder
    ) as stream:
        stream.until_done()
    assert recorder.names[-1] == "thread.run.completed"
    run = client.beta.threads.runs.retrieve(stream.get_final_run().id, thread_id=thread.id)
    assert (run.status, run.incomplete_details.reason) == ("completed", "max_completion_tokens")
    assert v2.get(f"/threads/{thread.id}/runs/{run.id}")["status"] == "incomplete"


def test_a_run_of_version_2_is_read_with_the_values_of_version_1(client: OpenAI, v2: V2) -> None:
    assistant = client.beta.assistants.create(model=MODEL, tools=[WEATHER])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    made = v2.post(
        f"/threads/{thread.id}/runs",
        assistant_id=assistant.id,
        tool_choice="required",
        response_format=schema,
    )
    run = client.beta.threads.runs.retrieve(made["id"], thread_id=thread.id)
    assert (run.tool_choice, run.response_format.type) == ("auto", "json_object")
    client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=50)


async def test_outputs_of_functions_are_submitted_and_streamed(async_client: AsyncOpenAI) -> None:
    client = async_client
    assistant = await client.beta.assistants.create(model=MODEL, tools=[WEATHER])
    ask = script({"calls": [{"name": "weather", "arguments": {"city": "Paris"}}]}, {"text": "It is {tool}."})
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": ask}])
    run = await client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
    )
    assert run.status == "requires_action"
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "sunny"}]
    async with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs
    ) as stream:
        await stream.until_done()
        [message] = await stream.get_final_messages()
    assert message.content[0].text.value == "It is sunny."
    [first] = [
        step
        async for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)
        if step.type == "tool_calls"
    ]
    assert first.step_details.tool_calls[0].function.output == "sunny"
