"""Counts the tokens of a request, as the chat completion that would be sent."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import orjson

from inference import tokens
from inference.engine.requests import IMAGE_TOKENS, MESSAGE_TOKENS, SLICE
from inference.errors import DocumentError
from inference.parsing.chunking import AUTO
from inference.parsing.sandbox import Sandbox
from persistence.large_json import Pauses
from persistence.types import JSON

LOW_DETAIL_TOKENS = 85
"""Tokens that OpenAI counts for an image in low detail."""

AUDIO_BYTES = {"wav": 4800, "mp3": 1600}
"""Bytes of audio for a token: OpenAI counts ten a second."""

COUNTED_AT_ONCE, COST_OF_A_TEXT = 500_000, 100
"""Characters that are counted in a row, in about 0.2 s, and those that take as long as a text's overhead."""

_threads = ThreadPoolExecutor(2, "tokens")
"""Threads of their own: counting 30 MB takes 15 s, and the event loop's threads also read large bodies."""

ReadFile = Callable[[bytes, str], Awaitable[str]]
"""Returns the text of a file from its bytes and its name; DocumentError."""


def file_reader(sandbox: Sandbox, project: str) -> ReadFile:
    """Return what reads files in the parser's process."""

    async def read(data: bytes, filename: str) -> str:
        async def source() -> AsyncIterator[bytes]:
            yield data

        with closing(await sandbox.parse(project, source(), filename, AUTO)) as parsed:
            return await asyncio.to_thread(parsed.text)

    return read


async def count_request(request: JSON, read: ReadFile) -> int:
    """Return the tokens of a chat request by tiktoken: texts and files' texts, tools, a price for images."""
    texts = [orjson.dumps(request[name]).decode() for name in ("tools", "response_format") if name in request]
    fixed, pauses = 0, Pauses()
    for message in request["messages"]:
        fixed += MESSAGE_TOKENS * (1 + len(message.get("tool_calls") or ()))
        texts += _texts(message)
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part["type"] == "file":
                texts.append(await _file_text(part["file"], read))
            else:
                fixed += _price(part)
        await pauses.pause_if_due()
    return fixed + await _count(texts)


def _texts(message: JSON) -> list[str]:
    content = message.get("content") or ""
    texts = [content] if isinstance(content, str) else [each.get("text") or "" for each in content]
    texts.append(message.get("reasoning_content") or "")
    texts += [block.get("thinking") or "" for block in message.get("thinking_blocks") or ()]
    for call in message.get("tool_calls") or ():
        texts += [call["function"]["name"], call["function"]["arguments"]]
    return texts


def _price(part: JSON) -> int:
    match part["type"]:
        case "image_url":
            return LOW_DETAIL_TOKENS if part["image_url"].get("detail") == "low" else IMAGE_TOKENS
        case "input_audio":
            audio = part["input_audio"]
            return int(len(audio["data"]) * 3 / 4 / AUDIO_BYTES.get(audio.get("format"), 1600)) + 1
        case _:
            return 0


async def _file_text(file: JSON, read: ReadFile) -> str:
    """Return a file's text, "" if it has none that can be read."""
    data = file["file_data"].partition("base64,")[2]
    try:
        return await read(await asyncio.to_thread(base64.b64decode, data), file.get("filename") or "")
    except (DocumentError, ValueError):
        return ""


async def _count(texts: list[str]) -> int:
    """Count the tokens a little at a time, so that counts take turns and end when they are cancelled."""
    loop, total = asyncio.get_running_loop(), 0
    for slices in _batches(texts):
        total += await loop.run_in_executor(_threads, _count_slices, slices)
    return total


def _batches(texts: list[str]) -> Iterator[list[str]]:
    """Yield the texts in slices, as the time for one long text grows faster than its length."""
    batch: list[str] = []
    room = COUNTED_AT_ONCE
    for text in texts:
        for start in range(0, len(text), SLICE):
            batch.append(text[start : start + SLICE])
            room -= len(batch[-1]) + COST_OF_A_TEXT
            if room < 0:
                yield batch
                batch, room = [], COUNTED_AT_ONCE
    if batch:
        yield batch


def _count_slices(slices: list[str]) -> int:
    return sum(map(tokens.count, slices))
