"""The tool image_generation by itself: what it refuses, what it reads of providers, what it leaves in stores."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inference.engine.errors import ToolRefused
from inference.engine.items import Call
from inference.engine.tools import ToolContext, ToolResult
from inference.gateway import Gateway, Routes
from inference.gateway.http.url_files import UrlFiles
from inference.image_generation.generated_images import GeneratedImages, frames_with_images, with_images
from inference.image_generation.tool import ImageGenerationType
from inference.retrieval.files import Files
from persistence.collections import CONVERSATIONS, GENERATED_IMAGES, RESPONSES
from persistence.store import Insert, Key, Store
from persistence.types import JSON
from tests.fixtures.stores import store
from tests.inference.engine.process import gateway_to
from tests.provider import ProviderProcess
from tests.provider.media import PICTURE, PIXEL

__all__ = ["store"]

RESPONSE = Insert(Key("p", RESPONSES, "resp_1"), {"id": "resp_1"})
CONVERSATION = Insert(Key("p", CONVERSATIONS, "conv_1"), {"id": "conv_1"})

Make = Callable[..., ImageGenerationType]


@pytest.fixture
async def gateway(provider: ProviderProcess) -> AsyncIterator[Gateway]:
    gateway = gateway_to(provider.url)
    await gateway.open()
    yield gateway
    await gateway.close()


@pytest.fixture
def type(store: Store, gateway: Gateway) -> ImageGenerationType:
    return type_of(store, gateway)


def type_of(store: Store, gateway: Gateway) -> ImageGenerationType:
    files = Files(store, None)  # type: ignore[arg-type]  # nothing expires here
    return ImageGenerationType(gateway, GeneratedImages(store, 60), files, UrlFiles())


def context(**fields: Any) -> ToolContext:
    options = {"tool": {"type": "image_generation", "image_generation": fields.pop("options", {})}}
    return ToolContext("p", "resp_1", "m", resources=(), **{**options, **fields})


async def called(type: ImageGenerationType, context: ToolContext, **arguments: Any) -> ToolResult:
    tool = await type.make(context)
    call = Call("fc_1", "image_generation_call", "call_1", "image_generation")
    call.arguments.add(json.dumps(arguments))
    return await tool.run(call, lambda phase, data: None)


async def test_an_image_model_without_a_route_is_refused_by_name_with_what_to_do(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        "providers:\n  p: {base_url: 'http://127.0.0.1:1/v1'}\nmodels:\n  my-image: {provider: p, model: x}\n"
    )
    type = type_of(store, Gateway(Routes.from_file(path, {})))
    await type.check("p", {"type": "image_generation", "image_generation": {"model": "my-image"}})
    with pytest.raises(
        ToolRefused, match=r"'gpt-image-1'.*add a route of that name to models.yaml"
    ) as refused:
        await type.check("p", {"type": "image_generation", "image_generation": {}})
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")


@pytest.mark.parametrize(
    ("options", "has_images"),
    [({}, True), ({"action": "auto"}, True), ({"action": "edit"}, True), ({"action": "generate"}, False)],
)
async def test_the_action_decides_whether_the_model_can_name_images(
    type: ImageGenerationType, options: JSON, has_images: bool
) -> None:
    (definition,) = (await type.make(context(options=options))).definitions()
    assert ("images" in definition["function"]["parameters"]["properties"]) is has_images


async def test_an_edit_without_numbers_takes_the_last_image(
    type: ImageGenerationType, provider: ProviderProcess, tag: str
) -> None:
    prompt = f"script: {json.dumps({'tag': tag, 'turns': [{}]})}"
    url = "data:image/png;base64," + base64.b64encode(PICTURE + b"!").decode()
    editing = context(options={"action": "edit"}, images=(f"data:image/png;base64,{PIXEL}", url))
    assert (await called(type, editing, prompt=prompt)).details["action"] == "edit"
    (sent,) = provider.received(tag)
    assert sent["body"]["image"]["size"] == len(PICTURE) + 1
    empty = await called(type, context(options={"action": "edit"}), prompt=prompt)
    assert empty.error is not None
    assert "no image to edit" in empty.output


@pytest.mark.parametrize(
    "arguments",
    [{}, {"prompt": ""}, {"prompt": 7}, {"prompt": "x", "images": "1"}, {"prompt": "x", "images": [0]}],
)
async def test_arguments_that_cannot_be_used_are_told_to_the_model(
    type: ImageGenerationType, arguments: JSON
) -> None:
    result = await called(type, context(), **arguments)
    assert result.error is not None
    assert result.error["code"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw", ["{}", '{"data": []}', '{"data": [{"b64_json": 7}]}', '{"data": [{}]}', "[]", "<p>"]
)
async def test_an_answer_without_an_image_fails_the_call(type: ImageGenerationType, raw: str) -> None:
    prompt = f"script: {json.dumps({'turns': [{'raw': raw, 'content_type': 'application/json'}]})}"
    result = await called(type, context(), prompt=prompt)
    assert result.error is not None
    assert "cannot be read" in result.output


@pytest.mark.parametrize("raw", ["", "data: {}\n\n", 'data: {"error": {"message": "No"}}\n\n'])
async def test_a_stream_without_an_image_fails_the_call(type: ImageGenerationType, raw: str) -> None:
    turn = {"raw": raw, "content_type": "text/event-stream"}
    prompt = f"script: {json.dumps({'turns': [turn]})}"
    result = await called(type, context(options={"partial_images": 1}), prompt=prompt)
    assert result.error is not None


def contents(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "astrolabe.db-contents").rglob("*"))


async def test_what_is_not_stored_leaves_nothing_in_the_store(
    type: ImageGenerationType, store: Store, tmp_path: Path
) -> None:
    options = {"partial_images": 2}
    unstored = await called(type, context(options=options, is_stored=False), prompt="a cat")
    assert unstored.details["result"] == PIXEL
    assert contents(tmp_path) == 0
    await store.write(RESPONSE)
    stored = await called(type, context(options=options), prompt="a cat")
    assert stored.details["result"].startswith("astrolabe-image:")
    assert contents(tmp_path) == 3


@pytest.mark.parametrize("lacks", ["resp_1", "conv_1"])
async def test_an_image_whose_response_or_conversation_was_deleted_meanwhile_is_deleted(
    type: ImageGenerationType, store: Store, tmp_path: Path, lacks: str
) -> None:
    await store.write(*(each for each in (RESPONSE, CONVERSATION) if each.key.id != lacks))
    await called(type, context(conversation="conv_1"), prompt="a cat")
    assert contents(tmp_path) == 0
    assert not (await store.page("p", GENERATED_IMAGES, "conv_1")).documents


async def test_an_image_of_a_conversation_is_kept_with_it(
    type: ImageGenerationType, store: Store, tmp_path: Path
) -> None:
    await store.write(RESPONSE, CONVERSATION)
    await called(type, context(conversation="conv_1"), prompt="a cat")
    assert contents(tmp_path) == 1
    assert len((await store.page("p", GENERATED_IMAGES, "conv_1")).documents) == 1


async def test_only_members_that_are_references_become_images(store: Store) -> None:
    images = GeneratedImages(store, 60)
    await store.write(RESPONSE)
    reference = await images.keep("p", "resp_1", "", PICTURE)
    text = json.dumps({"text": f'"result":"{reference}"', "result": reference}, separators=(",", ":"))

    frame = f"data: {text}\n\n".encode()

    shown = json.loads((await frames_with_images(store, "p", frame))[6:])
    assert shown == {"text": f'"result":"{reference}"', "result": PIXEL}
    gone = b'data: {"result":"astrolabe-image:gone"}\n\n'
    assert json.loads((await frames_with_images(store, "p", gone))[6:]) == {"result": None}
    assert json.loads((await frames_with_images(store, "q", frame))[6:])["result"] is None


async def test_a_list_shows_its_newest_images_up_to_its_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.image_generation.generated_images.MOST_BYTES", len(PIXEL) + 1)
    images = GeneratedImages(store, 60)
    await store.write(RESPONSE)
    references = [await images.keep("p", "resp_1", "", PICTURE) for _ in range(3)]
    items = [{"type": "image_generation_call", "result": each} for each in references]
    assert [item["result"] for item in await with_images(store, "p", items)] == [None, PIXEL, PIXEL]
