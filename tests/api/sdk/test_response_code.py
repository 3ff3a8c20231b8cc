import openai
import pytest
from conftest import MODEL, script
from openai import OpenAI

pytest.importorskip("openai.types.container_create_response", reason="older SDKs know no containers")

pytestmark = pytest.mark.usefixtures("sandbox")

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n"
TABLE = "_ = open('/mnt/data/table.csv', 'w').write('x,y')\n"
PNG = b"\x89PNG\r\n\x1a\n"


def code(text: str) -> dict:
    return {"calls": [{"name": "code_interpreter", "arguments": {"code": text}}]}


AUTO = [{"type": "code_interpreter", "container": {"type": "auto"}}]
OUTPUTS = ["code_interpreter_call.outputs"]


def test_a_response_shows_code_outputs_and_files_of_its_container(client: OpenAI) -> None:
    data = client.files.create(file=("numbers.csv", b"1,2"), purpose="user_data")
    program = f"print(open('/mnt/data/numbers.csv').read())\n{PLOT}{TABLE}"
    response = client.responses.create(
        model=MODEL,
        tools=[{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [data.id]}}],
        input=script(code(program), {"text": "🦄 [table](sandbox:/mnt/data/table.csv)"}),
        include=OUTPUTS,
    )
    call, message = response.output
    assert (call.type, call.status, call.code) == ("code_interpreter_call", "completed", program)
    logs, image = call.outputs
    assert logs.logs == "1,2\n"
    assert image.url.startswith("data:image/png;base64,")
    [part] = message.content
    table, plot = part.annotations
    assert {table.type, plot.type} == {"container_file_citation"}
    assert {table.container_id, plot.container_id} == {call.container_id}
    assert part.text[table.start_index : table.end_index] == "sandbox:/mnt/data/table.csv"
    assert (table.filename, plot.start_index, plot.end_index) == ("table.csv", len(part.text), len(part.text))
    for citation, beginning in ((table, b"x,y"), (plot, PNG)):
        content = client.containers.files.content.retrieve(
            citation.file_id, container_id=citation.container_id
        )
        assert content.read().startswith(beginning)
    [call, _] = client.responses.retrieve(response.id).output
    assert call.outputs == response.output[0].outputs  # as the request included them


def test_the_next_response_runs_code_in_the_same_container(client: OpenAI) -> None:
    first = client.responses.create(model=MODEL, tools=AUTO, input=script(code("x = 40"), {"text": "Done."}))
    second = client.responses.create(
        model=MODEL,
        tools=AUTO,
        previous_response_id=first.id,
        input=script(code("print(x + 2)"), {"text": "{tool}"}),
    )
    assert second.output_text == "42"
    assert second.output[0].container_id == first.output[0].container_id
    assert second.output[0].outputs is None


def test_a_model_is_told_that_the_container_of_its_earlier_code_is_gone(client: OpenAI) -> None:
    first = client.responses.create(model=MODEL, tools=AUTO, input=script(code("x = 40"), {"text": "Done."}))
    client.containers.delete(first.output[0].container_id)
    second = client.responses.create(
        model=MODEL,
        tools=AUTO,
        previous_response_id=first.id,
        input=script(code("print('x' in globals())"), {"text": "{tool}"}),
    )
    assert second.output_text.startswith("The container of earlier calls is gone: this code ran in a new one")
    assert second.output_text.endswith("False")


def test_a_stream_of_a_response_adds_up_to_it(client: OpenAI) -> None:
    container = client.containers.create(name="Sums")
    program = "print('é🦄\\n', \"\\\\\")"
    with client.responses.stream(
        model=MODEL,
        tools=[{"type": "code_interpreter", "container": container.id}],
        input=script(code(program), {"text": "Done."}),
        include=OUTPUTS,
    ) as stream:
        events = list(stream)
        response = stream.get_final_response()
    of_code = [event for event in events if "code_interpreter" in event.type]
    assert list(dict.fromkeys(event.type for event in of_code)) == [
        "response.code_interpreter_call.in_progress",
        "response.code_interpreter_call_code.delta",
        "response.code_interpreter_call_code.done",
        "response.code_interpreter_call.interpreting",
        "response.code_interpreter_call.completed",
    ]
    assert "".join(event.delta for event in of_code if event.type.endswith("delta")) == program
    [done] = [event for event in of_code if event.type.endswith("code.done")]
    [call, _] = response.output
    assert call.code == done.code == program
    assert call.container_id == container.id
    assert [output.logs for output in call.outputs] == ["é🦄\n \\\n"]
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_response_can_be_forced_to_run_code(client: OpenAI) -> None:
    response = client.responses.create(
        model=MODEL, tools=AUTO, input="Hi", tool_choice={"type": "code_interpreter"}
    )
    assert [item.type for item in response.output] == ["code_interpreter_call", "message"]
    assert response.output[0].code == "print(6 * 7)"


def test_a_container_that_does_not_exist_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Container with id 'cntr_none' not found") as caught:
        client.responses.create(
            model=MODEL, tools=[{"type": "code_interpreter", "container": "cntr_none"}], input="Hi"
        )
    assert caught.value.param == "tools[0].container"


def test_a_large_image_is_named_by_its_path_and_cited(client: OpenAI) -> None:
    program = (
        "import os\nfrom IPython.display import display\nfrom PIL import Image\n"
        "display(Image.frombytes('RGB', (400, 400), os.urandom(480_000)))"
    )
    response = client.responses.create(
        model=MODEL, tools=AUTO, input=script(code(program), {"text": "Noise."}), include=OUTPUTS
    )
    call, message = response.output
    [citation] = message.content[0].annotations
    path = f"/v1/containers/{call.container_id}/files/{citation.file_id}/content"
    assert [output.url for output in call.outputs] == [path]
    content = client.containers.files.content.retrieve(
        citation.file_id, container_id=citation.container_id
    ).read()
    assert content.startswith(PNG)
    assert len(content) > 400_000


def test_what_a_container_cannot_have_is_refused_by_its_field(client: OpenAI) -> None:
    for option, field in (
        ({"memory_limit": "64g"}, "memory_limit"),
        ({"network_policy": {"type": "allowlist", "allowed_domains": ["x.org"]}}, "network_policy.type"),
    ):
        tool = {"type": "code_interpreter", "container": {"type": "auto", **option}}
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=MODEL, tools=[tool], input="Hi")
        assert caught.value.param == f"tools[0].container.{field}"
    missing = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-none"]}}
    with pytest.raises(openai.NotFoundError, match="file-none") as unknown:
        client.responses.create(model=MODEL, tools=[missing], input="Hi")
    assert unknown.value.param == "tools[0].container.file_ids"
