"""Asks the provider of an image model, and reads its answer: JSON, or events with partial images."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from inference.gateway import Credentials, Gateway, failures
from inference.gateway.answers import normalize, sse
from inference.gateway.driver import ProviderRequest, ProviderResponse
from inference.gateway.http.forms import Form, FormFile
from inference.gateway.http.url_files import UrlFiles
from inference.gateway.paths import IMAGE_EDITS, IMAGES
from inference.gateway.routing.parameters import with_parameters
from inference.gateway.routing.targets import Target
from persistence.types import JSON

LARGEST = 64 * 1024 * 1024
"""Bytes of an answer with an image."""

SHOWN = ("size", "quality", "background", "output_format")
"""What an answer says of its image."""

_STREAMING_WIRES = ("openai", "responses")
_URL_MODELS = "dall-e"
"""How the models begin that answer with a URL unless asked for base64, and that stream nothing."""


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image to edit, or a mask, as a file of a form."""

    data: bytes
    filename: str
    content_type: str

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield its bytes."""
        yield self.data


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request for one image: an edit of `images`, or without any a new one.

    `fields` are those of the image operations, without model.
    """

    fields: JSON
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """An image; `index` is that of a partial one, None for the finished one. `shown` says what it is."""

    data: bytes
    index: int | None = None
    shown: JSON = field(default_factory=dict)
    revised_prompt: str | None = None


async def ask_for_image(
    gateway: Gateway, urls: UrlFiles, model: str, request: ImageRequest, credentials: Credentials | None
) -> AsyncGenerator[GeneratedImage, None]:
    """Yield the partial images that the request asks for, then the finished one.

    Raises ModelNotFound, a ProviderError, or FetchFailed for an answer that names a URL.
    """
    path = IMAGE_EDITS if request.images else IMAGES

    async def call(target: Target) -> tuple[Target, ProviderResponse]:
        sent = ProviderRequest("POST", path, _body(target, request))
        return target, await gateway.send(target, sent)

    target, response = await gateway.first_answer(model, call, credentials)
    async with aclosing(response):
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            async for image in _streamed(target, response):
                yield image
            return
        answer = await normalize.parsed_large(target, await response.read(LARGEST))
        yield await _whole(urls, answer)


def _body(target: Target, request: ImageRequest) -> JSON | Form:
    fields = {**with_parameters(request.fields, target), "model": target.model}
    is_old = target.model.startswith(_URL_MODELS)
    if fields.pop("partial_images", None) and target.wire in _STREAMING_WIRES and not is_old:
        fields |= {"stream": True, "partial_images": request.fields["partial_images"]}
    if is_old:
        fields["response_format"] = "b64_json"
    if not request.images:
        return fields
    name = "image[]" if len(request.images) > 1 else "image"
    files: list[tuple[str, str | FormFile]] = [(name, image) for image in request.images]
    if request.mask is not None:
        files.append(("mask", request.mask))
    texts = [(name, _text(value)) for name, value in fields.items() if value is not None]
    return Form((*texts, *files))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _streamed(target: Target, response: ProviderResponse) -> AsyncGenerator[GeneratedImage, None]:
    parser = sse.EventParser()
    try:
        async for piece in response:
            for data in parser.feed(piece):
                if data.strip() in (b"", b"[DONE]"):
                    continue
                event = normalize.parsed(target, data)
                kind = str(event.get("type"))
                if kind.endswith(".partial_image"):
                    yield await _image(event, int(event.get("partial_image_index") or 0))
                elif kind.endswith(".completed"):
                    yield await _image(event)
                    await response.drain()
                    return
    except sse.InvalidEventStream as exc:
        raise failures.unreadable(str(exc)) from exc
    raise failures.cut_off()


async def _whole(urls: UrlFiles, answer: JSON) -> GeneratedImage:
    listed = answer.get("data")
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, dict):
        raise failures.unreadable("it has no image")
    if first.get("b64_json") is None and isinstance(first.get("url"), str):
        data = (await urls.fetch(first["url"])).data
        return GeneratedImage(data, None, _shown(answer), first.get("revised_prompt"))
    return await _image({**answer, **first})


async def _image(value: JSON, index: int | None = None) -> GeneratedImage:
    try:
        data = await asyncio.to_thread(base64.b64decode, value["b64_json"])
    except (KeyError, TypeError, binascii.Error) as exc:
        raise failures.unreadable("it has no image in base64") from exc
    prompt = value.get("revised_prompt")
    return GeneratedImage(data, index, _shown(value), prompt if isinstance(prompt, str) else None)


def _shown(value: JSON) -> JSON:
    return {name: value[name] for name in SHOWN if isinstance(value.get(name), str)}
