"""The tool image_generation through OpenAI's SDK: two workers, both APIs, on SQLite and on Cassandra."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.fixtures.clients import OPERATORS_KEY
from tests.provider import ProviderProcess
from tests.provider.media import PICTURE, PIXEL
from tests.server import Server

pytestmark = pytest.mark.server

LARGE = 5_000_000
"""Bytes of an image that no object of Cassandra would hold."""


@pytest.fixture(scope="module", params=["sqlite", "cassandra"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess
) -> Iterator[Server]:
    environment = {"OPENAI_API_KEY": OPERATORS_KEY, "OPENAI_BASE_URL": provider.url}
    if request.param == "cassandra":
        url: str = request.getfixturevalue("cassandra_url")
        environment["ASTROLABE_STORE"] = url.replace("/t_", "/api_")
    with Server(tmp_path_factory.mktemp("images"), **environment) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60) as client:
        yield client


def script(tag: str, *turns: Any) -> str:
    return "script: " + json.dumps({"tag": tag, "turns": turns})


def drawing(prompt: str, **arguments: Any) -> Any:
    return {"calls": [{"name": "image_generation", "arguments": {"prompt": prompt, **arguments}}]}


def asked(provider: ProviderProcess, prompt: str) -> list[Any]:
    """The requests for images with a prompt, of which each test has its own."""
    return provider.received(f"image-{prompt}")


def prompt_of(tag: str, text: str = "a cat") -> str:
    """A prompt by which the provider's records of one test are found."""
    return f"{text} script: " + json.dumps({"tag": f"image-{tag}", "turns": [{}]})


def image_of(response: Any) -> Any:
    (image,) = [item for item in response.output if item.type == "image_generation_call"]
    return image


TOOL: Any = {"type": "image_generation", "quality": "low", "size": "1024x1024"}


def test_a_response_has_the_image_that_its_model_asked_for(
    client: OpenAI, provider: ProviderProcess, tag: str
) -> None:
    prompt = prompt_of(tag)
    input = script(tag, drawing(prompt), {"text": "{tool}"})
    response = client.responses.create(model="m", input=input, tools=[TOOL])
    image = image_of(response)
    assert (image.status, base64.b64decode(image.result)) == ("completed", PICTURE)
    assert image.id.startswith("ig_")
    assert (image.revised_prompt, image.output_format, image.action) == (prompt, "png", "generate")
    assert response.output_text == "The image was made, and the user sees it. It is image 1."
    (sent,) = asked(provider, tag)
    assert sent["path"] == "/v1/images/generations"
    body = {name: sent["body"][name] for name in ("model", "quality", "size")}
    assert body == {"model": "gpt-image-1", "quality": "low", "size": "1024x1024"}
    assert client.responses.retrieve(response.id).output == response.output
    followed = client.responses.create(
        model="m", input="And?", previous_response_id=response.id, tools=[TOOL]
    )
    items = client.responses.input_items.list(followed.id).data
    assert image.result in [getattr(item, "result", None) for item in items]


def test_an_image_streams_with_its_partial_images_and_again_when_its_events_are_read(
    client: OpenAI, tag: str
) -> None:
    tool = {**TOOL, "partial_images": 2}
    input = script(tag, drawing(prompt_of(tag)), {"text": "There."})
    events = list(client.responses.create(model="m", input=input, tools=[tool], stream=True))
    of_image = [event for event in events if "image_generation_call" in event.type]
    prefix = "response.image_generation_call."
    assert [event.type.removeprefix(prefix) for event in of_image] == [
        "in_progress",
        "generating",
        "partial_image",
        "partial_image",
        "completed",
    ]
    partial: Any = of_image[3]
    assert (partial.partial_image_index, partial.partial_image_b64, partial.size) == (1, PIXEL, "1024x1024")
    done: Any = next(event for event in events if event.type == "response.output_item.done")
    assert done.item.result == PIXEL
    last: Any = events[-1]
    assert image_of(last.response).result == PIXEL
    assert list(client.responses.retrieve(last.response.id, stream=True)) == events


def test_a_response_in_the_background_has_its_image(client: OpenAI, tag: str) -> None:
    input = script(tag, drawing(prompt_of(tag)), {"text": "There."})
    response = client.responses.create(model="m", input=input, tools=[TOOL], background=True)
    deadline = time.monotonic() + 30
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    assert image_of(response).result == PIXEL


@pytest.mark.parametrize("store", [True, False])
def test_images_that_no_stored_object_would_hold_are_kept(client: OpenAI, tag: str, store: bool) -> None:
    prompts = [prompt_of(tag, f"a cat of {LARGE + number} bytes") for number in (0, 1)]
    input = script(tag, *map(drawing, prompts), {"text": "There."})
    tool = {**TOOL, "partial_images": 1}
    response = client.responses.create(model="m", input=input, tools=[tool], store=store)
    images = [item for item in response.output if item.type == "image_generation_call"]
    assert [len(base64.b64decode(image.result)) for image in images] == [LARGE, LARGE + 1]
    if store:
        assert client.responses.retrieve(response.id).output == response.output


def test_more_images_than_a_response_holds_are_refused_in_their_items(client: OpenAI, tag: str) -> None:
    prompts = [prompt_of(tag, f"cat {number} of 11000000 bytes") for number in range(3)]
    input = script(tag, *map(drawing, prompts), {"text": "{tool}"})
    response = client.responses.create(model="m", input=input, tools=[TOOL])
    statuses = [item.status for item in response.output if item.type == "image_generation_call"]
    assert statuses == ["completed", "completed", "failed"]
    assert "too large" in response.output_text


def test_a_conversation_has_the_image_until_it_is_deleted(client: OpenAI, tag: str) -> None:
    conversation = client.conversations.create().id
    input = script(tag, drawing(prompt_of(tag)), {"text": "There."})
    response = client.responses.create(model="m", input=input, tools=[TOOL], conversation=conversation)
    client.responses.delete(response.id)
    items: Any = client.conversations.items.list(conversation, order="asc").data
    (image,) = [item for item in items if item.type == "image_generation_call"]
    assert image.result == PIXEL
    one: Any = client.conversations.items.retrieve(image.id, conversation_id=conversation)
    assert one.result == PIXEL
    client.conversations.delete(conversation)


def test_a_deleted_response_takes_its_images_along(client: OpenAI, server: Server, tag: str) -> None:
    folder = server.folder / "astrolabe.db-contents"
    if not server.environment["ASTROLABE_STORE"].startswith("sqlite"):
        pytest.skip("the contents of the other engine are no files")
    before = {path for path in folder.rglob("*") if path.is_file()}
    input = script(tag, drawing(prompt_of(tag)), {"text": "There."})
    response = client.responses.create(model="m", input=input, tools=[TOOL])
    (content,) = {path for path in folder.rglob("*") if path.is_file()} - before
    client.responses.delete(response.id)
    assert not content.exists()


def test_images_of_the_context_are_edited(client: OpenAI, provider: ProviderProcess, tag: str) -> None:
    url = f"data:image/png;base64,{PIXEL}"
    first = client.responses.create(
        model="m",
        input=script(tag, drawing(prompt_of(f"{tag}-first", "600 bytes")), {"text": "There."}),
        tools=[TOOL],
    )
    prompt, again = prompt_of(tag), prompt_of(f"{tag}-again")
    content: Any = [
        {
            "type": "input_text",
            "text": script(tag, drawing(prompt, images=[1, 2]), drawing(again, images=[3])),
        },
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ]
    tool = {**TOOL, "input_fidelity": "high", "input_image_mask": {"image_url": url}}
    edited = client.responses.create(
        model="m",
        input=[{"role": "user", "content": content}],
        previous_response_id=first.id,
        tools=[tool],
    )
    assert {item.action for item in edited.output if item.type == "image_generation_call"} == {"edit"}
    (sent,) = asked(provider, tag)
    assert sent["path"] == "/v1/images/edits"
    assert [one["size"] for one in sent["body"]["image[]"]] == [600, len(PICTURE)]
    assert (sent["body"]["input_fidelity"], sent["body"]["mask"]["size"]) == ("high", len(PICTURE))
    (sent,) = asked(provider, f"{tag}-again")
    assert sent["body"]["image"]["size"] == len(PICTURE)


@pytest.mark.parametrize(("model", "sees"), [("gpt-4o", True), ("m", False)])
def test_a_later_model_sees_the_image_if_it_reads_images(
    client: OpenAI, provider: ProviderProcess, tag: str, model: str, sees: bool
) -> None:
    input = script(tag, drawing(prompt_of(tag)), {"text": "There."})
    first = client.responses.create(model="m", input=input, tools=[TOOL])
    later = script(f"{tag}-later", {"text": "I see."})
    client.responses.create(model=model, input=later, previous_response_id=first.id)
    (sent,) = provider.received(f"{tag}-later")
    messages = json.dumps(sent["body"]["messages"])
    assert (PIXEL in messages) is sees
    assert "astrolabe-image" not in messages
    assert ("The image was made, and the user sees it." in messages) is not sees


def test_a_number_of_no_image_and_a_provider_that_refuses_fail_the_item_and_the_model_reads_why(
    client: OpenAI, tag: str
) -> None:
    refusing = "script: " + json.dumps({"turns": [{"fail": {"status": 400, "message": "Not that"}}]})
    for call, said in (
        (drawing("a cat", images=[7]), "There is no image 7"),
        (drawing(refusing), "Not that"),
    ):
        input = script(tag, call, {"text": "{tool}"})
        response = client.responses.create(model="m", input=input, tools=[TOOL])
        assert (image_of(response).status, image_of(response).result) == ("failed", None)
        assert said in response.output_text


def test_a_choice_of_the_tool_forces_it(client: OpenAI) -> None:
    response = client.responses.create(
        model="m", input="Draw.", tools=[TOOL], tool_choice={"type": "image_generation"}
    )
    assert image_of(response).status == "failed"  # the model of the tests calls without arguments


def test_a_tool_whose_mask_is_no_file_is_refused(client: OpenAI) -> None:
    tool = {**TOOL, "input_image_mask": {"file_id": "file-none"}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="m", input="x", tools=[tool])
    assert refused.value.param == "tools[0].input_image_mask.file_id"


def post(client: OpenAI, path: str, body: Any) -> Any:
    return client.post(path, body=body, cast_to=object)


def test_a_message_of_a_thread_has_the_image_as_a_file_which_later_runs_edit(
    client: OpenAI, provider: ProviderProcess, tag: str
) -> None:
    assistant = post(client, "/assistants", {"model": "m", "tools": [TOOL]})
    prompt = prompt_of(tag)
    content = script(tag, drawing(prompt), {"text": "There."})
    thread = post(client, "/threads", {"messages": [{"role": "user", "content": content}]})
    path = f"/threads/{thread['id']}"
    body = {"assistant_id": assistant["id"], "stream": True}
    sent = httpx.post(f"{client.base_url}{path[1:]}/runs", json=body, timeout=60)
    events = [json.loads(line[6:]) for line in sent.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["status"] == "completed"
    message = client.get(f"{path}/messages", cast_to=object)["data"][0]  # type: ignore[index]
    image, text = message["content"]
    assert text["text"]["value"] == "There."
    deltas = [event for event in events if event["object"] == "thread.message.delta"]
    assert deltas[0]["delta"]["content"] == [{"index": 0, **image}]
    steps: Any = client.get(f"{path}/runs/{events[-1]['id']}/steps", cast_to=object)
    (call,) = steps["data"][-1]["step_details"]["tool_calls"]
    assert call["type"] == "image_generation"
    file = client.files.retrieve(call["image_generation"]["file_id"])
    assert image["image_file"]["file_id"] == file.id
    assert (file.purpose, client.files.content(file.id).read()) == ("assistants_output", PICTURE)
    assert call["image_generation"]["revised_prompt"] == prompt
    content = script(tag, drawing(prompt_of(f"{tag}-edit"), images=[1]), {"text": "{tool}"})
    post(client, f"{path}/messages", {"role": "user", "content": content})
    run = {"assistant_id": assistant["id"], "stream": True}
    assert "thread.run.completed" in httpx.post(f"{client.base_url}{path[1:]}/runs", json=run).text
    (sent,) = asked(provider, f"{tag}-edit")
    assert (sent["path"], sent["body"]["image"]["size"]) == ("/v1/images/edits", len(PICTURE))
