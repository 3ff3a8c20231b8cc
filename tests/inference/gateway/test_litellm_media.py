"""Images, speech and transcriptions by litellm, from the loopback provider."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.errors import ProviderBroken, ProviderRejected
from inference.gateway import Gateway, Routes
from inference.gateway.driver import ProviderRequest
from inference.gateway.http.forms import Form
from inference.gateway.paths import IMAGE_EDITS, IMAGES, SPEECH, TRANSCRIPTIONS
from inference.gateway.relay import RelayedResponse, relayed
from inference.spool import Spool, SpooledFile
from persistence.types import JSON
from tests.provider import ProviderProcess
from tests.provider.media import PIXEL, SPOKEN, TEXT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning"
    ),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEY = "sk-the-operators-own-key"


@pytest.fixture
async def gateway(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Gateway]:
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers:
  p: {{wire: litellm, base_url: "{provider.url}", api_key: "${{KEY}}", retries: 0, read_timeout: 30}}
models:
  image: {{provider: p, model: together_ai/flux}}
  voice: {{provider: p, model: groq/playai-tts}}
  ear: {{provider: p, model: groq/whisper-large-v3}}
  claude: {{provider: p, model: anthropic/claude}}
""")
    gateway = Gateway(Routes.from_file(path, {"KEY": KEY}))
    await gateway.open()
    yield gateway
    await gateway.close()


async def ask(gateway: Gateway, model: str, path: str, body: JSON | Form) -> tuple[RelayedResponse, bytes]:
    target = gateway.targets(model)[0]
    response = await relayed(target, await gateway.send(target, ProviderRequest("POST", path, body)))
    content = response.body
    if not isinstance(content, bytes):
        content = b"".join([piece async for piece in content])
    return response, content


async def sound(**fields: str) -> Form:
    spool = Spool(lambda _: None)
    await spool.write(b"sound" * 1000)
    file = SpooledFile(spool, 0, spool.size, "a.mp3", "audio/mpeg")
    return Form((("file", file), *fields.items()))


async def test_an_image_is_generated(gateway: Gateway) -> None:
    _, content = await ask(gateway, "image", IMAGES, {"model": "image", "prompt": "a cat", "n": 1})
    assert json.loads(content)["data"][0]["b64_json"] == PIXEL


async def test_speech_is_audio(gateway: Gateway) -> None:
    body = {"model": "voice", "input": "Hello", "voice": "Fritz", "response_format": "wav"}
    response, content = await ask(gateway, "voice", SPEECH, body)
    assert (response.headers["content-type"], content) == ("audio/wav", SPOKEN)


async def test_a_transcription_has_its_format(gateway: Gateway) -> None:
    _, content = await ask(gateway, "ear", TRANSCRIPTIONS, await sound(model="ear", temperature="0.2"))
    assert json.loads(content) == {"text": TEXT}
    response, content = await ask(
        gateway, "ear", TRANSCRIPTIONS, await sound(model="ear", response_format="text")
    )
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert content.decode().strip() == TEXT


async def test_what_a_provider_does_not_have_is_refused_by_name(gateway: Gateway) -> None:
    for model, path in (("claude", IMAGES), ("claude", SPEECH), ("image", IMAGE_EDITS)):
        with pytest.raises(ProviderBroken, match=f"no 'POST {path}' for the provider 'p'") as caught:
            await ask(gateway, model, path, {"model": model, "prompt": "x"})
        assert caught.value.status == 501
    with pytest.raises(ProviderRejected, match="does not take 'stream'"):
        await ask(gateway, "image", IMAGES, {"model": "image", "prompt": "a cat", "stream": True})
