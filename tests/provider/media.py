"""Images and audio on OpenAI's wire: the answers to forms and to JSON."""

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator

from python_multipart.multipart import MultipartParser
from werkzeug.http import parse_options_header

from persistence.types import JSON
from tests.provider.answers import CREATED
from tests.provider.connection import Connection

PICTURE = b"\x89PNG\r\n\x1a\n a picture"
PIXEL = base64.b64encode(PICTURE).decode()
SPOKEN = bytes(range(256)) * 64
TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "opus": "audio/ogg", "pcm": "audio/pcm"}
WORDS = ["It ", "is ", "sunny."]
TEXT = "".join(WORDS)


def form_fields(content_type: str, body: bytes) -> JSON:
    """Return a form's fields; of a file its name, type, size and SHA-256."""
    parts: list[tuple[dict[str, str], bytearray]] = []
    name = bytearray()

    def begin() -> None:
        parts.append(({}, bytearray()))

    def header_name(data: bytes, start: int, end: int) -> None:
        name.extend(data[start:end])

    def header_value(data: bytes, start: int, end: int) -> None:
        parts[-1][0][name.decode().lower()] = data[start:end].decode()
        name.clear()

    def data(given: bytes, start: int, end: int) -> None:
        parts[-1][1].extend(given[start:end])

    boundary = parse_options_header(content_type)[1]["boundary"]
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_header_field": header_name,
            "on_header_value": header_value,
            "on_part_data": data,
        },
    )
    parser.write(body)
    parser.finalize()
    fields: JSON = {}
    for headers, content in parts:
        options = parse_options_header(headers["content-disposition"])[1]
        key = options["name"]
        if "filename" not in options:
            value: object = content.decode()
        else:
            value = {
                "filename": options["filename"],
                "content_type": headers.get("content-type"),
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        fields[key] = [*fields[key], value] if isinstance(fields.get(key), list) else value
        if key.endswith("[]") and not isinstance(fields[key], list):
            fields[key] = [value]
    return fields


def event(value: JSON) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


async def image(connection: Connection, path: str, body: JSON) -> None:
    """Answer any operation on images; a prompt such as "300000 bytes" says how large a picture is."""
    sized = re.search(r"(?<!\d)(\d+) bytes", str(body.get("prompt")))
    picture = PIXEL if sized is None else base64.b64encode(PICTURE.ljust(int(sized[1]), b".")).decode()
    if body.get("stream") not in (True, "true"):
        data = [{"b64_json": picture}] * int(body.get("n") or 1)
        connection.send(200, json.dumps({"created": CREATED, "data": data}).encode())
        return
    kind = "image_edit" if path.endswith("edits") else "image_generation"
    await _stream(connection, _image_events(kind, int(body.get("partial_images") or 0), picture))


def _image_events(kind: str, partial: int, picture: str) -> Iterator[bytes]:
    common = {"created_at": CREATED, "size": "1024x1024", "quality": "high", "background": "opaque"}
    common |= {"output_format": "png", "b64_json": picture}
    for index in range(partial):
        yield event({"type": f"{kind}.partial_image", "partial_image_index": index, **common})
    details = {"text_tokens": 1, "image_tokens": 0}
    usage = {"total_tokens": 2, "input_tokens": 1, "output_tokens": 1, "input_tokens_details": details}
    yield event({"type": f"{kind}.completed", "usage": usage, **common})


async def speech(connection: Connection, _: str, body: JSON) -> None:
    """Speak."""
    if body.get("stream_format") == "sse":
        audio = base64.b64encode(SPOKEN).decode()
        usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        deltas = [event({"type": "speech.audio.delta", "audio": audio})] * 2
        await _stream(connection, iter([*deltas, event({"type": "speech.audio.done", "usage": usage})]))
        return
    connection.start_stream(TYPES.get(body.get("response_format") or "mp3", "audio/mpeg"))
    for start in range(0, len(SPOKEN), 4096):
        await connection.write(SPOKEN[start : start + 4096])
    connection.end_stream()


async def transcription(connection: Connection, _: str, body: JSON) -> None:
    """Transcribe or translate."""
    if body.get("stream") == "true":
        deltas = [event({"type": "transcript.text.delta", "delta": word}) for word in WORDS]
        await _stream(connection, iter([*deltas, event({"type": "transcript.text.done", "text": TEXT})]))
        return
    form = body.get("response_format") or "json"
    if form not in TRANSCRIPTS:
        connection.send(200, TRANSCRIBED_TEXTS[form], {"content-type": "text/plain; charset=utf-8"})
        return
    connection.send(200, json.dumps(TRANSCRIPTS[form], indent=1).encode())


TRANSCRIPTS: dict[str, JSON] = {
    "json": {"text": TEXT, "usage": {"type": "duration", "seconds": 2}},
    "verbose_json": {
        "task": "transcribe",
        "language": "english",
        "duration": 2.0,
        "text": TEXT,
        "segments": [],
        "words": [{"word": "It", "start": 0.0, "end": 0.5}],
    },
    "diarized_json": {
        "task": "transcribe",
        "duration": 2.0,
        "text": TEXT,
        "segments": [
            {
                "type": "transcript.text.segment",
                "id": "s1",
                "start": 0,
                "end": 2,
                "text": TEXT,
                "speaker": "A",
            }
        ],
    },
}
TRANSCRIBED_TEXTS = {
    "text": f"{TEXT}\n".encode(),
    "srt": f"1\n00:00:00,000 --> 00:00:02,000\n{TEXT}\n\n".encode(),
    "vtt": f"WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n{TEXT}\n".encode(),
}


async def _stream(connection: Connection, events: Iterator[bytes]) -> None:
    connection.start_stream()
    for one in events:
        await connection.write(one)
    connection.end_stream()


MEDIA: dict[str, Callable[[Connection, str, JSON], Awaitable[None]]] = {
    "images/generations": image,
    "images/edits": image,
    "images/variations": image,
    "audio/speech": speech,
    "audio/transcriptions": transcription,
    "audio/translations": transcription,
}
"""What answers each operation, by its path below /v1."""
