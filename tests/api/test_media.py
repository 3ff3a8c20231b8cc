"""Images and audio through OpenAI's SDK, from a provider on OpenAI's wire, by two workers."""

import base64
import hashlib
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.fixtures.clients import OPERATORS_KEY
from tests.provider import ProviderProcess
from tests.provider.media import PIXEL, SPOKEN, TEXT, TRANSCRIBED_TEXTS, TRANSCRIPTS
from tests.server import Server, until

pytestmark = pytest.mark.server

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60) as client:
        yield client


def scripted(tag: str, **turn: Any) -> str:
    return "script: " + json.dumps({"tag": tag, "turns": [turn]})


def test_an_image_is_generated(client: OpenAI, provider: ProviderProcess, tag: str) -> None:
    images = client.images.generate(model="gpt-image-1", prompt=scripted(tag), n=2, size="1024x1024")
    assert [image.b64_json for image in images.data or []] == [PIXEL, PIXEL]
    (asked,) = provider.received(tag)
    assert asked["path"] == "/v1/images/generations"
    assert asked["headers"]["authorization"] == f"Bearer {OPERATORS_KEY}"
    assert asked["body"] == {"model": "gpt-image-1", "prompt": scripted(tag), "n": 2, "size": "1024x1024"}


def test_a_request_without_a_model_gets_the_editions_default(
    client: OpenAI, provider: ProviderProcess, tag: str
) -> None:
    client.images.generate(prompt=scripted(tag))
    client.images.edit(prompt=scripted(tag), image=("a.png", PICTURE, "image/png"))
    assert [one["body"]["model"] for one in provider.received(tag)] == ["dall-e-2", "gpt-image-1.5"]


def test_partial_images_are_streamed(client: OpenAI) -> None:
    events = list(client.images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=2))
    kinds = ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.type for event in events] == kinds
    assert events[-1].b64_json == PIXEL


def test_an_edit_takes_several_images_and_a_mask(client: OpenAI, provider: ProviderProcess, tag: str) -> None:
    images = [("a.png", PICTURE, "image/png"), ("b ü.png", PICTURE * 2, "image/png")]
    mask = ("mask.png", b"mask", "image/png")
    edited = client.images.edit(model="gpt-image-1", image=images, mask=mask, prompt=scripted(tag))
    assert [image.b64_json for image in edited.data or []] == [PIXEL]
    body = provider.received(tag)[0]["body"]
    assert body["model"] == "gpt-image-1"
    assert [(one["filename"], one["content_type"], one["sha256"]) for one in body["image[]"]] == [
        (name, "image/png", hashlib.sha256(content).hexdigest()) for name, content, _ in images
    ]
    assert body["mask"]["size"] == 4


def test_an_image_is_varied(client: OpenAI) -> None:
    varied = client.images.create_variation(image=("a.png", PICTURE, "image/png"))
    assert [image.b64_json for image in varied.data or []] == [PIXEL]


def test_speech_is_the_providers_bytes(client: OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hello", response_format="wav"
    ) as response:
        assert response.headers["content-type"] == "audio/wav"
        assert b"".join(response.iter_bytes()) == SPOKEN


def test_speech_is_streamed_as_events(http: httpx.Client) -> None:
    body = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hello", "stream_format": "sse"}
    answer = http.post("/audio/speech", json=body)
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * 2 + ["speech.audio.done"]
    assert base64.b64decode(events[0]["audio"]) == SPOKEN


@pytest.mark.parametrize("form", [*TRANSCRIBED_TEXTS, *TRANSCRIPTS])
def test_every_format_of_a_transcription_arrives_byte_for_byte(http: httpx.Client, form: str) -> None:
    data = {"model": "whisper-1", "response_format": form}
    answer = http.post("/audio/transcriptions", data=data, files={"file": ("a.mp3", b"sound", "audio/mpeg")})
    assert answer.status_code == 200, answer.text
    if form in TRANSCRIPTS:
        assert answer.headers["content-type"] == "application/json"
        assert answer.content == json.dumps(TRANSCRIPTS[form], indent=1).encode()
    else:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.content == TRANSCRIBED_TEXTS[form]


def test_a_transcription_is_streamed(client: OpenAI) -> None:
    sound = ("a.mp3", io.BytesIO(b"sound"), "audio/mpeg")
    events = list(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound, stream=True))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == TEXT
    assert events[-1].type == "transcript.text.done"


def test_a_translation_is_text(client: OpenAI) -> None:
    translated = client.audio.translations.create(model="whisper-1", file=("a.mp3", b"sound"))
    assert translated.text == TEXT


def test_the_model_may_come_behind_the_file(http: httpx.Client, provider: ProviderProcess, tag: str) -> None:
    files: list[Any] = [
        ("file", ("a.mp3", b"sound" * 1000, "audio/mpeg")),
        ("prompt", (None, scripted(tag))),
        ("model", (None, "whisper-1")),
        ("timestamp_granularities[]", (None, "word")),
        ("timestamp_granularities[]", (None, "segment")),
    ]
    assert http.post("/audio/transcriptions", files=files).json()["text"] == TEXT
    body = provider.received(tag)[0]["body"]
    assert list(body) == ["file", "prompt", "model", "timestamp_granularities[]"]
    assert body["timestamp_granularities[]"] == ["word", "segment"]


def test_a_callers_own_key_is_used_in_astra_mode(
    astra_server: Server, provider: ProviderProcess, tag: str
) -> None:
    headers = {"astra-api-token": "AstraCS:a:b", "api-key": "sk-the-callers-own-key"}
    prompt = scripted(tag)
    body = {"model": "gpt-image-1", "prompt": prompt}
    image = httpx.post(f"{astra_server.url}/images/generations", json=body, headers=headers)
    assert image.status_code == 200, image.text
    files = {"file": ("a.mp3", b"sound"), "model": (None, "whisper-1"), "prompt": (None, prompt)}
    sound = httpx.post(f"{astra_server.url}/audio/transcriptions", files=files, headers=headers)
    assert sound.status_code == 200, sound.text
    keys = [one["headers"]["authorization"] for one in provider.received(tag)]
    assert keys == ["Bearer sk-the-callers-own-key"] * 2


# --- bad input ---


def test_a_form_without_a_model_is_refused(http: httpx.Client) -> None:
    answer = http.post("/audio/transcriptions", files={"file": ("a.mp3", b"sound")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


def test_a_wrong_content_type_is_refused(http: httpx.Client) -> None:
    answer = http.post("/audio/transcriptions", json={"model": "whisper-1"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_content_type"


@pytest.mark.parametrize(
    ("turn", "status", "message"),
    [
        ({"fail": {"status": 400, "code": "moderation_blocked", "message": "Refused"}}, 400, "Refused"),
        ({"fail": {"status": 413, "body": "<html>Too large</html>"}}, 413, "413 Request Entity Too Large|413 Content Too Large"),
        ({"raw": "<html>hi</html>", "content_type": "text/html"}, 502, "a page of HTML"),
        ({"raw": "<html>hi</html>", "content_type": "application/json"}, 502, "a page of HTML"),
        ({"raw": "", "content_type": "application/json"}, 502, "it is empty"),
        ({"raw": '{"error": {"message": "No", "code": 429}}', "content_type": "application/json"}, 429, "No"),
        ({"raw": '{"created": 1,', "content_type": "application/json", "reset": True}, 502, "closed the stream"),
        ({"raw": "", "status": 302, "headers": {"location": "http://example.com"}}, 502, "status 302"),
        ({"fail": {"status": 0}}, 502, "closed the connection"),
        ({"raw": "", "status": 700}, 502, "status 700"),
    ],
)  # fmt: skip
def test_a_provider_that_fails_is_an_error_of_openais_form(
    client: OpenAI, tag: str, turn: dict[str, Any], status: int, message: str
) -> None:
    with pytest.raises(openai.APIStatusError, match=message) as caught:
        client.images.edit(
            model="gpt-image-1", image=("a.png", PICTURE, "image/png"), prompt=scripted(tag, **turn)
        )
    assert caught.value.status_code == status
    assert {"message", "type", "param", "code"} <= caught.value.body.keys()  # type: ignore[union-attr]


def test_a_stream_that_breaks_ends_with_an_error(client: OpenAI, tag: str) -> None:
    raw = 'event: image_generation.partial_image\ndata: {"type": "image_generation.partial_image"}\n\n'
    prompt = scripted(tag, raw=raw, reset=True)
    stream = client.images.generate(model="gpt-image-1", prompt=prompt, stream=True)
    with pytest.raises(openai.APIError, match="closed the stream"):
        list(stream)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain"])
@pytest.mark.parametrize("raw_size", [7, 100_000])
def test_no_answer_has_the_operators_key(
    http: httpx.Client, tag: str, content_type: str, raw_size: int
) -> None:
    raw = json.dumps({"data": ["x" * 20_000, f"Bearer {OPERATORS_KEY}", "PADDING"]})
    turn = {"raw": raw, "padding": 1_200_000, "raw_size": raw_size * 10, "content_type": content_type}
    headers = {"x-debug": OPERATORS_KEY, "set-cookie": "a=b", "openai-organization": "org-secret"}
    prompt = scripted(tag, **turn, headers=headers)
    answer = http.post("/images/generations", json={"model": "dall-e-2", "prompt": prompt})
    assert answer.status_code == 200, answer.text[:300]
    assert OPERATORS_KEY not in answer.text
    assert answer.text == raw.replace(OPERATORS_KEY, "***").replace("PADDING", "y" * 1_200_000)
    assert answer.headers["x-debug"] == "***"
    assert "set-cookie" not in answer.headers
    assert "openai-organization" not in answer.headers


# --- memory, disk and sockets ---


def resident(worker: int) -> int:
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096


def open_files(worker: int) -> list[str]:
    """The sockets and the unnamed temporary files that a process has open."""
    links = []
    for path in Path(f"/proc/{worker}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return sorted(link for link in links if link.startswith("socket:") or "(deleted)" in link)


def post_sound(server: Server, size: int) -> httpx.Response:
    files = {"file": ("a.wav", io.BytesIO(b"\0" * size), "audio/wav"), "model": (None, "whisper-1")}
    headers = {"Authorization": "Bearer any", "Connection": "close"}
    return httpx.post(f"{server.url}/audio/transcriptions", files=files, headers=headers, timeout=60)


def test_a_large_file_is_not_held_in_memory(tmp_path: Path, provider: ProviderProcess) -> None:
    size = 100 * 1024 * 1024
    environment = {"OPENAI_API_KEY": OPERATORS_KEY, "OPENAI_BASE_URL": provider.url}
    with Server(tmp_path, workers=1, **environment) as server:
        (worker,) = server.workers()
        assert post_sound(server, 1_000_000).status_code == 200
        before, files = resident(worker), len(open_files(worker))
        peak = before
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(post_sound, server, size)
            while not answer.done():
                peak = max(peak, resident(worker))
                time.sleep(0.005)
        assert answer.result().json()["text"] == TEXT
        assert peak - before < 32 * 1024 * 1024
        until(lambda: len(open_files(worker)) <= files, seconds=5)


def test_files_and_connections_are_closed_however_a_request_ends(
    tmp_path: Path, provider: ProviderProcess, tag: str
) -> None:
    turns: list[dict[str, Any]] = [
        {"raw": "<html>hi</html>", "content_type": "text/html"},
        {"raw": "{", "content_type": "application/json", "reset": True},
        {"raw": "", "status": 302},
        {"fail": {"status": 0}},
        {"fail": {"status": 500}},
        {"wait": 30},
    ]
    environment = {"OPENAI_API_KEY": OPERATORS_KEY, "OPENAI_BASE_URL": provider.url}
    environment["ASTROLABE_MODELS"] = str(tmp_path / "models.yaml")
    (tmp_path / "models.yaml").write_text(
        f"providers: {{p: {{base_url: '{provider.url}', retries: 0, read_timeout: 1}}}}\n"
        "models: {'*': {provider: p}}\n"
    )
    with Server(tmp_path, workers=1, **environment) as server:
        (worker,) = server.workers()
        assert post_sound(server, 100_000).status_code == 200
        before = len(open_files(worker))
        statuses = []
        for turn in turns:
            files = {"file": ("a.mp3", b"sound" * 100_000), "model": (None, "whisper-1")}
            files["prompt"] = (None, scripted(tag, **turn))
            headers = {"Authorization": "Bearer any", "Connection": "close"}
            answer = httpx.post(
                f"{server.url}/audio/transcriptions", files=files, headers=headers, timeout=60
            )
            statuses.append(answer.status_code)
            assert answer.json()["error"]["message"]
        assert statuses == [502, 502, 502, 502, 500, 504]
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/audio/transcriptions", files=files, headers=headers, timeout=0.5)
        until(lambda: len(open_files(worker)) <= before, seconds=5)


def test_images_may_be_files_of_this_server(
    client: OpenAI, http: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    file = client.files.create(file=("a.png", PICTURE), purpose="vision")
    text = client.files.create(file=("a.txt", b"text"), purpose="vision")
    body: dict[str, Any] = {"model": "gpt-image-1", "prompt": scripted(tag)}
    body |= {"images": [{"file_id": file.id}, {"image_url": "https://example.com/a.png"}]}
    assert http.post("/images/edits", json=body | {"mask": {"file_id": file.id}}).status_code == 200
    url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    asked = provider.received(tag)[0]["body"]
    assert asked["images"] == [{"image_url": url}, {"image_url": "https://example.com/a.png"}]
    assert asked["mask"] == {"image_url": url}
    missing = http.post("/images/edits", json=body | {"mask": {"file_id": "file-none"}})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "mask.file_id")
    no_image = http.post("/images/edits", json=body | {"images": [{"file_id": text.id}]})
    assert (no_image.status_code, no_image.json()["error"]["param"]) == (400, "images[0].file_id")
