import pytest
from conftest import MODEL, script
from openai import OpenAI

pytestmark = pytest.mark.usefixtures("sandbox")


def test_code_reads_the_files_of_the_assistant_and_of_the_message(client: OpenAI) -> None:
    files = [
        client.files.create(file=(name, name.encode()), purpose="assistants").id
        for name in ("assistant.txt", "message.txt")
    ]
    assistant = client.beta.assistants.create(
        model=MODEL, tools=[{"type": "code_interpreter"}], file_ids=files[:1]
    )
    thread = client.beta.threads.create()
    program = (
        "import os\nprint(sorted(os.listdir('/mnt/data')))\n_ = open('/mnt/data/out.txt', 'w').write('made')"
    )
    turns = (
        {"calls": [{"name": "code_interpreter", "arguments": {"code": program}}]},
        {"text": "See sandbox:/mnt/data/out.txt"},
    )
    client.beta.threads.messages.create(thread.id, role="user", content=script(*turns), file_ids=files[1:])
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
    )
    assert run.status == "completed", run.last_error
    [call_step, _] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc").data
    [call] = call_step.step_details.tool_calls
    assert call.type == "code_interpreter"
    assert call.code_interpreter.input == program
    assert [output.logs for output in call.code_interpreter.outputs] == ["['assistant.txt', 'message.txt']\n"]
    [answer] = client.beta.threads.messages.list(thread.id, limit=1).data
    [annotation] = answer.content[0].text.annotations
    assert annotation.type == "file_path"
    assert client.files.content(annotation.file_path.file_id).read() == b"made"
