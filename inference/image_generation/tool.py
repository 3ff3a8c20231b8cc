"""The tool image_generation: the model writes a prompt, the route of an image model makes the image."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Protocol

import orjson

from inference.engine.errors import ToolRefused
from inference.engine.items import Call
from inference.engine.tools import Emit, Tool, ToolContext, ToolResult, ToolType
from inference.errors import InferenceError, ModelNotFound, ProviderError
from inference.gateway import Gateway
from inference.gateway.driver import one_piece
from inference.gateway.http.url_files import FetchFailed, UrlFiles
from inference.identifiers import new_id
from inference.image_generation.generated_images import GeneratedImages, is_reference
from inference.image_generation.provider import GeneratedImage, ImageRequest, InputImage, ask_for_image
from inference.images import MAX_IMAGE, SIGNATURE_BYTES, image_type
from inference.retrieval.errors import ObjectNotFound
from inference.retrieval.files import ASSISTANTS_OUTPUT, Files
from persistence.types import JSON

TYPE = "image_generation"
DEFAULT_MODEL = "gpt-image-1"
"""The model that the edition names as the default."""

MOST_INPUTS = 16
"""Images of one edit, as at OpenAI."""

MOST_BYTES = 24 * 1024 * 1024
"""Bytes of the images of one run: a response has them all, as base64."""

FIELDS = (
    "background",
    "input_fidelity",
    "moderation",
    "output_compression",
    "output_format",
    "quality",
    "size",
)
"""Options of the tool that are fields of the image operations, too."""

DESCRIPTION = "Makes an image and shows it to the user. Do not repeat it or link to it."
PROMPT = "What the image shows, in all detail; for an edit, what becomes of the images."
_NUMBERS = "The images of this conversation to edit: their numbers, counted from 1 in their order."
IMAGES = {
    "auto": f"{_NUMBERS} Without them a new image is made.",
    "edit": f"{_NUMBERS} Without them the last one is edited.",
}

_ONLY_EDITS = frozenset({"input_fidelity"})
_ONLY_NEW = frozenset({"moderation"})


class Keep(Protocol):
    """Keeps the images of a run, as its API shows them."""

    async def keep(self, image: GeneratedImage) -> JSON:
        """Keep an image; return the members of the call's details that name it."""

    async def keep_partial(self, image: GeneratedImage) -> str | None:
        """Keep a partial image; return what its event has, None if the API shows none."""

    async def read(self, details: JSON) -> bytes | None:
        """Return the image of an earlier call, None if it is gone."""


class ImageGenerationType(ToolType):
    """The type image_generation."""

    def __init__(self, gateway: Gateway, images: GeneratedImages, files: Files, urls: UrlFiles) -> None:
        self._gateway = gateway
        self._images = images
        self._files = files
        self._urls = urls

    async def check(self, project: str, entry: JSON) -> None:
        """Raise ToolRefused for a model without a route, and for a mask that is no file of the project."""
        options = entry[TYPE]
        model = options.get("model") or DEFAULT_MODEL
        try:
            self._gateway.check_model(model)
        except ModelNotFound as exc:
            message = (
                f"The tool '{TYPE}' needs the image model '{model}', which this server does not have: add a "
                "route of that name to models.yaml, or name another image model in the tool's 'model'."
            )
            raise ToolRefused(message, "model", "model_not_found") from exc
        file_id = (options.get("input_image_mask") or {}).get("file_id")
        if file_id is not None:
            try:
                await self._files.get(project, file_id)
            except ObjectNotFound as exc:
                raise ToolRefused(exc.message, "input_image_mask.file_id", "not_found") from exc

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool of a run."""
        keep: Keep
        if context.conversation.startswith("thread_"):
            keep = _KeptAsFiles(self._files, context.project)
        elif context.is_stored:
            keep = _KeptWithResponse(self._images, context)
        else:
            keep = _NotKept()
        return ImageGeneration(self._gateway, self._images, self._files, self._urls, context, keep)


class ImageGeneration(Tool):
    """The tool of one run."""

    item_type = "image_generation_call"

    def __init__(
        self,
        gateway: Gateway,
        images: GeneratedImages,
        files: Files,
        urls: UrlFiles,
        context: ToolContext,
        keep: Keep,
    ) -> None:
        self._gateway = gateway
        self._images = images
        self._files = files
        self._urls = urls
        self._context = context
        self._options: JSON = context.tool.get(TYPE) or {}
        self._keep = keep
        self._made = [details for details in context.results if details.get("bytes")]
        self._room = MOST_BYTES - sum(details["bytes"] for details in self._made)

    def definitions(self) -> list[JSON]:
        """Return the function of the model."""
        action = self._options.get("action") or "auto"
        properties: JSON = {"prompt": {"type": "string", "description": PROMPT}}
        if action != "generate":
            numbers = {"type": "integer", "minimum": 1}
            properties["images"] = {"type": "array", "items": numbers, "description": IMAGES[action]}
        parameters = {"type": "object", "properties": properties, "required": ["prompt"]}
        function = {"name": TYPE, "description": DESCRIPTION, "parameters": parameters}
        return [{"type": "function", "function": function}]

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Have the image made; what fails is told to the model and shown in the item."""
        emit("generating", {})
        try:
            prompt, numbers = _arguments(str(call.arguments))
            request = await self._request(prompt, numbers)
            details = await self._generate(request, emit)
        except _Unusable as exc:
            return _failed(str(exc), "invalid_request_error")
        except (ProviderError, FetchFailed, ModelNotFound) as exc:
            code = exc.body.get("code") if isinstance(exc, ProviderError) else None
            return _failed(f"The image could not be made: {exc}", str(code or "image_generation_failed"))
        self._made.append(details)
        number = len(self._context.images) + len(self._made)
        return ToolResult(f"The image was made, and the user sees it. It is image {number}.", details)

    async def _request(self, prompt: str, numbers: Sequence[int]) -> ImageRequest:
        action = self._options.get("action") or "auto"
        count = len(self._context.images) + len(self._made)
        if action == "generate":
            numbers = ()
        elif action == "edit" and not numbers:
            if not count:
                raise _Unusable("There is no image to edit in this conversation.")
            numbers = (count,)
        images = tuple([await self._image(number, count) for number in numbers[:MOST_INPUTS]])
        left_out = _ONLY_NEW if images else _ONLY_EDITS
        given = {name: self._options.get(name) for name in FIELDS if name not in left_out}
        fields = {name: value for name, value in given.items() if value not in (None, "auto")}
        partial = (
            {"partial_images": self._options["partial_images"]} if self._options.get("partial_images") else {}
        )
        mask = await self._mask() if images else None
        return ImageRequest({"prompt": prompt, **fields, **partial}, images, mask)

    async def _generate(self, request: ImageRequest, emit: Emit) -> JSON:
        if self._room <= 0:
            raise _Unusable("No more images can be made in this answer: those that were made are too large.")
        model = self._options.get("model") or DEFAULT_MODEL
        caller = self._context.caller
        credentials = None if caller is None else caller.chat
        asking = ask_for_image(self._gateway, self._urls, model, request, credentials)
        async with aclosing(asking) as images:
            async for image in images:
                if image.index is None:
                    break
                partial = await self._keep.keep_partial(image)
                if partial is not None:
                    at = {"partial_image_index": image.index, "partial_image_b64": partial}
                    emit("partial_image", {**at, **image.shown})
        self._room -= len(image.data)  # other calls may run at the same time
        if self._room < 0:
            raise _Unusable("The image is too large for this answer, with those that were made before it.")
        kind = image_type(image.data[:SIGNATURE_BYTES])
        shown = {"output_format": (kind or "image/png").removeprefix("image/"), **image.shown}
        return {
            **await self._keep.keep(image),
            "bytes": len(image.data),
            "action": "edit" if request.images else "generate",
            "revised_prompt": image.revised_prompt or request.fields["prompt"],
            **shown,
        }

    # --- images to edit ---

    async def _image(self, number: int, count: int) -> InputImage:
        before = self._context.images
        if not 1 <= number <= count:
            raise _Unusable(f"There is no image {number}: this conversation has {count} images.")
        if number <= len(before):
            data = await self._by_url(before[number - 1])
        else:
            data = await self._keep.read(self._made[number - len(before) - 1]) or b""
        return _input_image(data, f"Image {number}")

    async def _mask(self) -> InputImage | None:
        mask = self._options.get("input_image_mask") or {}
        if mask.get("file_id") is not None:
            data = await _content(self._files, self._context.project, mask["file_id"]) or b""
        elif mask.get("image_url"):
            data = await self._by_url(mask["image_url"])
        else:
            return None
        return _input_image(data, "The mask")

    async def _by_url(self, url: str) -> bytes:
        if is_reference(url):
            return await self._images.read(self._context.project, url) or b""
        if url.startswith("file:"):
            return await _content(self._files, self._context.project, url.removeprefix("file:")) or b""
        if not url.startswith("data:"):
            return (await self._urls.fetch(url, MAX_IMAGE)).data
        return await asyncio.to_thread(_decoded, url.partition(",")[2])


class _Unusable(InferenceError):
    """A call that cannot be run; the model reads why."""


class _KeptWithResponse:
    def __init__(self, images: GeneratedImages, context: ToolContext) -> None:
        self._images = images
        self._project = context.project
        self._run = context.run
        self._conversation = context.conversation if context.conversation.startswith("conv_") else ""

    async def keep(self, image: GeneratedImage) -> JSON:
        kept = self._images.keep(self._project, self._run, self._conversation, image.data)
        return {"result": await kept}

    async def keep_partial(self, image: GeneratedImage) -> str:
        return await self._images.keep_partial(self._project, image.data)

    async def read(self, details: JSON) -> bytes | None:
        result = details["result"]
        if is_reference(result):
            return await self._images.read(self._project, result)
        return await asyncio.to_thread(_decoded, result)


class _NotKept:
    """For responses that are not stored: the item has the image itself."""

    async def keep(self, image: GeneratedImage) -> JSON:
        return {"result": await _encoded(image.data)}

    async def keep_partial(self, image: GeneratedImage) -> str:
        return await _encoded(image.data)

    async def read(self, details: JSON) -> bytes | None:
        return await asyncio.to_thread(_decoded, details["result"])


class _KeptAsFiles:
    """For threads: a message names the image by the id of a file."""

    def __init__(self, files: Files, project: str) -> None:
        self._files = files
        self._project = project

    async def keep(self, image: GeneratedImage) -> JSON:
        kind = image_type(image.data[:SIGNATURE_BYTES]) or "image/png"
        id = new_id("file-")
        filename = f"{id}.{kind.removeprefix('image/')}"
        await self._files.write(
            self._project, one_piece(image.data), filename=filename, purpose=ASSISTANTS_OUTPUT, id=id
        )
        return {"file_id": id}

    async def keep_partial(self, image: GeneratedImage) -> None:  # noqa: ARG002 - threads show none
        return None

    async def read(self, details: JSON) -> bytes | None:
        return await _content(self._files, self._project, details["file_id"])


async def _content(files: Files, project: str, id: str) -> bytes | None:
    """Return the bytes of a file, None if it is gone; _Unusable for one that is too large."""
    try:
        document = await files.get(project, id)
    except ObjectNotFound:
        return None
    if document.value["bytes"] > MAX_IMAGE:
        raise _Unusable(f"The file {id} has more than the {MAX_IMAGE} bytes of an image.")
    return b"".join([piece async for piece in files.read(document)])


def _arguments(arguments: str) -> tuple[str, list[int]]:
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        given = None
    prompt = given.get("prompt") if isinstance(given, dict) else None
    if not isinstance(prompt, str) or not prompt:
        raise _Unusable('The arguments need a prompt: {"prompt": "a text"}.')
    numbers: Any = given.get("images") or []
    if not isinstance(numbers, list) or not all(isinstance(each, int) for each in numbers):
        raise _Unusable("'images' needs a list of numbers.")
    return prompt, numbers


def _input_image(data: bytes, what: str) -> InputImage:
    kind = image_type(data[:SIGNATURE_BYTES])
    if kind is None:
        raise _Unusable(f"{what} is no longer there, or is not a png, jpeg, gif or webp image.")
    return InputImage(data, f"image.{kind.removeprefix('image/')}", kind)


def _failed(message: str, code: str) -> ToolResult:
    return ToolResult(message, error={"code": code, "message": message})


async def _encoded(data: bytes) -> str:
    return (await asyncio.to_thread(base64.b64encode, data)).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
