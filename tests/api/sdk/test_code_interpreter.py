import time

import pytest
from conftest import MODEL, script
from openai import AssistantEventHandler, OpenAI
from typing_extensions import override

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n"
TABLE = "_ = open('/mnt/data/table.csv', 'w').write('x,y')\n"
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = pytest.mark.usefixtures("sandbox")


def code(text: str) -> dict:
    return {"calls": [{"name": "code_interpreter", "arguments": {"code": text}}]}


@pytest.fixture
def tutor(client: OpenAI):
    tutor = client.beta.assistants.create(
        name="Math Tutor",
        instructions="Write and run code to answer questions of mathematics.",
        tools=[{"type": "code_interpreter"}],
        model="eager-model",
    )
    yield tutor
    client.beta.assistants.delete(tutor.id)


def test_a_run_is_polled_until_the_code_has_run(client: OpenAI, tutor) -> None:
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content="What is 6 * 7?")
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=tutor.id, instructions="Hello.")
    while run.status in ("queued", "in_progress"):
        time.sleep(0.05)
        run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
    assert run.status == "completed"
    [answer, question] = client.beta.threads.messages.list(thread_id=thread.id)
    assert (answer.role, question.role) == ("assistant", "user")
    assert answer.content[0].text.value == "You said: What is 6 * 7?"
    [step] = [
        step
        for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)
        if step.type == "tool_calls"
    ]
    [call] = step.step_details.tool_calls
    assert call.code_interpreter.input == "print(6 * 7)"
    assert [output.logs for output in call.code_interpreter.outputs] == ["42\n"]


def test_the_events_of_a_run_with_code_are_openais(client: OpenAI, tutor) -> None:
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content="What is 6 * 7?")
    events = [
        event.event
        for event in client.beta.threads.runs.create(thread_id=thread.id, assistant_id=tutor.id, stream=True)
    ]
    assert list(dict.fromkeys(events)) == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.step.completed",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.completed",
    ]


class Handler(AssistantEventHandler):
    """Keeps what the SDK makes of a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.written = ""
        self.text = ""
        self.calls = []
        self.steps = []
        self.images = []
        self.message = None

    @override
    def on_tool_call_delta(self, delta, snapshot) -> None:
        if delta.type == "code_interpreter" and delta.code_interpreter.input:
            self.written += delta.code_interpreter.input

    @override
    def on_tool_call_done(self, tool_call) -> None:
        self.calls.append(tool_call)

    @override
    def on_run_step_done(self, run_step) -> None:
        self.steps.append(run_step)

    @override
    def on_text_delta(self, delta, snapshot) -> None:
        self.text += delta.value or ""

    @override
    def on_image_file_done(self, image_file) -> None:
        self.images.append(image_file.file_id)

    @override
    def on_message_done(self, message) -> None:
        self.message = message


def without_index(value):
    """A call without the indexes, which only deltas have."""
    if isinstance(value, dict):
        return {name: without_index(each) for name, each in value.items() if name != "index"}
    return [without_index(each) for each in value] if isinstance(value, list) else value


def test_a_stream_adds_up_to_the_step_and_the_message_that_are_retrieved(client: OpenAI) -> None:
    data = client.files.create(file=("numbers.csv", b"1,2"), purpose="assistants")
    assistant = client.beta.assistants.create(
        model=MODEL,
        tools=[{"type": "code_interpreter"}],
        tool_resources={"code_interpreter": {"file_ids": [data.id]}},
    )
    program = f"print(open('/mnt/data/numbers.csv').read())\n{PLOT}{TABLE}print('é🦄')"
    answer = "🦄 See [table](sandbox:/mnt/data/table.csv) of sandbox:/mnt/data/numbers.csv."
    handler = Handler()
    with client.beta.threads.create_and_run_stream(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": script(code(program), {"text": answer})}]},
        event_handler=handler,
    ) as stream:
        stream.until_done()

    assert handler.written == program
    [step, _] = handler.steps
    retrieved = client.beta.threads.runs.steps.retrieve(step.id, run_id=step.run_id, thread_id=step.thread_id)
    assert retrieved == step
    [call] = step.step_details.tool_calls
    streamed = handler.calls[0]  # the SDK calls again at the end of each later step
    assert without_index(streamed.model_dump()) == call.model_dump()
    logs, image, rest = call.code_interpreter.outputs
    assert (logs.logs, rest.logs) == ("1,2\n", "é🦄\n")

    [message] = client.beta.threads.messages.list(step.thread_id, limit=1).data
    assert message == handler.message
    shown, said = message.content
    assert [shown.image_file.file_id] == handler.images == [image.image.file_id]
    assert client.files.content(shown.image_file.file_id).read().startswith(PNG)
    assert said.text.value == handler.text == answer
    for annotation, content in zip(said.text.annotations, [b"x,y", b"1,2"], strict=True):
        assert annotation.type == "file_path"
        assert said.text.value[annotation.start_index : annotation.end_index] == annotation.text
        assert client.files.content(annotation.file_path.file_id).read() == content
    made = client.files.retrieve(said.text.annotations[0].file_path.file_id)
    assert (made.filename, made.purpose, made.bytes) == ("table.csv", "assistants_output", 3)


def test_variables_and_files_stay_in_the_thread(client: OpenAI) -> None:
    assistant = client.beta.assistants.create(model=MODEL, tools=[{"type": "code_interpreter"}])
    attached = client.files.create(file=("late.txt", b"late"), purpose="assistants")
    thread = client.beta.threads.create()

    def answer(content: str, **message) -> str:
        client.beta.threads.messages.create(thread.id, role="user", content=content, **message)
        run = client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
        )
        assert run.status == "completed", run.last_error
        return client.beta.threads.messages.list(thread.id, limit=1).data[0].content[-1].text

    answer(script(code("x = 40\n" + TABLE), {"text": "Done."}))
    said = answer(
        script(
            code("import os; print(x + 2, sorted(os.listdir('/mnt/data')))"),
            {"text": "{tool} sandbox:/mnt/data/table.csv"},
        ),
        attachments=[{"file_id": attached.id, "tools": [{"type": "code_interpreter"}]}],
    )
    assert said.value == "42 ['late.txt', 'table.csv'] sandbox:/mnt/data/table.csv"
    [annotation] = said.annotations
    assert client.files.content(annotation.file_path.file_id).read() == b"x,y"


def test_a_run_can_be_forced_to_run_code(client: OpenAI) -> None:
    assistant = client.beta.assistants.create(model=MODEL, tools=[{"type": "code_interpreter"}])
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "Hi"}]},
        tool_choice={"type": "code_interpreter"},
        poll_interval_ms=50,
    )
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
