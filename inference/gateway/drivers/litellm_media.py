"""Images, speech and transcriptions by litellm, for the providers that have them there."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import litellm
import orjson

from inference.errors import ProviderRejected
from inference.gateway import failures
from inference.gateway.driver import MadeResponse, ProviderRequest, ProviderResponse, one_piece
from inference.gateway.drivers.litellm_errors import mapped_errors
from inference.gateway.http.forms import LARGEST_WHOLE_FILE, Form, FormFile
from inference.gateway.paths import IMAGES, SPEECH, TRANSCRIPTIONS
from inference.gateway.routing.targets import Target
from persistence.types import JSON

NO_KEY = "none"
"""The key for a target with a base URL but no key; litellm would take one from os.environ instead."""

OFFERED = {
    IMAGES: frozenset(
        {
            "azure_ai", "bedrock", "dashscope", "fal_ai", "gemini", "openrouter", "recraft", "runwayml",
            "stability", "together_ai", "vertex_ai", "xai",
        }
    ),
    SPEECH: frozenset({"elevenlabs", "gemini", "groq", "minimax", "mistral", "runwayml", "vertex_ai"}),
    TRANSCRIPTIONS: frozenset(
        {
            "deepgram", "elevenlabs", "fireworks_ai", "gemini", "groq", "mistral", "scaleway", "vertex_ai",
            "watsonx",
        }
    ),
}  # fmt: skip
"""The providers that litellm asks for each operation."""

FIELDS = {
    IMAGES: frozenset(
        {
            "background", "moderation", "n", "output_compression", "output_format", "prompt", "quality",
            "response_format", "size", "style", "user",
        }
    ),
    SPEECH: frozenset({"input", "instructions", "response_format", "speed", "voice"}),
    TRANSCRIPTIONS: frozenset({"language", "prompt", "response_format", "temperature"}),
}  # fmt: skip
"""The fields of each request that litellm takes; another one is refused by name."""

TYPES = {
    "aac": "audio/aac", "flac": "audio/flac", "mp3": "audio/mpeg", "opus": "audio/opus", "pcm": "audio/pcm",
    "wav": "audio/wav",
}  # fmt: skip
PLAIN_TEXT = "text/plain; charset=utf-8"


async def send(target: Target, request: ProviderRequest) -> ProviderResponse:
    """Return an image, speech or a transcription; 501 for what litellm does not have for the provider."""
    provider = target.model.partition("/")[0]
    if request.method != "POST" or provider not in OFFERED.get(request.path, ()):
        raise failures.not_offered(target, request.described)
    fields, file = await _fields(request)
    arguments = _arguments(target, request.path, fields)
    with mapped_errors(target):
        async with asyncio.timeout(target.read_timeout):
            if request.path == IMAGES:
                return _json(await litellm.aimage_generation(**arguments))
            if request.path == SPEECH:
                return await _speech(arguments)
            return _transcription(await litellm.atranscription(file=file, **arguments), arguments)


async def _fields(request: ProviderRequest) -> tuple[JSON, Any]:
    """Return the request's fields, and the file of a form as litellm takes it."""
    if isinstance(request.body, dict):
        return request.body, None
    if not isinstance(request.body, Form):
        return {}, None
    texts: JSON = {}
    file = None
    for name, value in request.body.fields:
        if isinstance(value, str):
            texts[name] = float(value) if name == "temperature" else value
        else:
            file = await _whole(value)
    return texts, file


async def _whole(file: FormFile) -> tuple[str, bytes, str]:
    if file.size > LARGEST_WHOLE_FILE:
        message = f"'file' has {file.size} bytes, where this provider takes {LARGEST_WHOLE_FILE}."
        raise ProviderRejected.invalid(message, "file", "file_too_large")
    return file.filename, b"".join([piece async for piece in file.pieces()]), file.content_type


def _arguments(target: Target, path: str, fields: JSON) -> JSON:
    given = {name: value for name, value in fields.items() if value not in (None, False) and name != "model"}
    unknown = sorted(given.keys() - FIELDS[path])
    if unknown:
        message = f"The provider '{target.provider}' does not take '{unknown[0]}'."
        raise ProviderRejected.invalid(message, unknown[0], "unsupported_parameter")
    arguments = {**given, "model": target.model, "max_retries": 0, **dict(target.parameters)}
    # The driver's own timeout comes first, because litellm reports some timeouts as other errors.
    arguments["timeout"] = (
        target.read_timeout + 5
        if path != IMAGES
        else httpx.Timeout(target.read_timeout + 5, connect=target.connect_timeout)
    )
    if target.base_url:
        arguments["api_base"] = target.base_url
        arguments["api_key"] = target.api_key or NO_KEY
    elif target.api_key:
        arguments["api_key"] = target.api_key
    if target.headers:
        arguments["extra_headers"] = dict(target.headers)
    return arguments


def _json(answer: Any) -> MadeResponse:
    value = answer.model_dump(mode="json", exclude_none=True)
    return MadeResponse(one_piece(orjson.dumps(value)))


async def _speech(arguments: JSON) -> MadeResponse:
    audio = await litellm.aspeech(**arguments)
    content_type = audio.response.headers.get("content-type", "")
    if not content_type.startswith("audio/"):
        content_type = TYPES.get(arguments.get("response_format", "mp3"), "application/octet-stream")

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield audio.content

    return MadeResponse(pieces(), content_type)


def _transcription(answer: Any, arguments: JSON) -> MadeResponse:
    form = arguments.get("response_format") or "json"
    if form in ("text", "srt", "vtt"):
        return MadeResponse(one_piece((answer.text or "").encode()), PLAIN_TEXT)
    value = answer.model_dump(mode="json", exclude_none=True)
    return MadeResponse(one_piece(orjson.dumps({"text": value["text"]} if form == "json" else value)))
