import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from inference.errors import ProviderRejected
from inference.gateway import ChunkAccumulator, Gateway, Routes
from inference.gateway.drivers import local_driver
from inference.local.models import LocalModels
from tests.fixtures.required import requires

pytestmark = [
    pytest.mark.slow,
    requires(not LocalModels.missing(), f"not installed: {', '.join(LocalModels.missing())}"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModels]:
    models = LocalModels(tmp_path_factory.mktemp("cache"))
    models.start()
    yield models
    models.stop()


@pytest.fixture
async def local(models: LocalModels) -> AsyncIterator[Gateway]:
    gateway = Gateway(Routes.local(), local=models)
    await gateway.open()
    yield gateway
    await gateway.close()


def chat(text: str, **fields: object) -> dict[str, object]:
    return {"model": "local", "messages": [{"role": "user", "content": text}], **fields}


async def vectors(gateway: Gateway, *texts: object) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    answer = await gateway.embed({"model": "local-embedding", "input": list(texts)})
    return np.array([item["embedding"] for item in answer["data"]])


async def test_a_chat_is_answered_and_counted(local: Gateway) -> None:
    answer = await local.complete(chat("What is the capital of France?", max_tokens=20))
    assert answer["choices"][0]["message"]["content"]
    assert answer["model"] == "local"
    assert answer["usage"]["completion_tokens"] > 1


@pytest.mark.parametrize(
    ("fields", "length"), [({}, 5), ({"max_tokens": 9}, 9), ({"max_completion_tokens": 7}, 7)]
)
async def test_an_answer_is_bounded_by_default(
    local: Gateway, monkeypatch: pytest.MonkeyPatch, fields: dict[str, int], length: int
) -> None:
    assert local_driver.LONGEST_ANSWER == 512
    monkeypatch.setattr(local_driver, "LONGEST_ANSWER", 5)
    answer = await local.complete(chat("Write a long story of a dog and a cat.", **fields))
    assert answer["usage"]["completion_tokens"] == length
    assert answer["choices"][0]["finish_reason"] == "length"


async def test_a_chat_is_streamed_token_by_token(local: Gateway) -> None:
    fields = {"max_tokens": 20, "temperature": 0, "stream_options": {"include_usage": True}}
    chunks = [chunk async for chunk in local.chunks(chat("Write a story of a dog and a cat.", **fields))]
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    assert sum(1 for text in texts if text) == 20 == chunks[-1]["usage"]["completion_tokens"]


async def test_a_prompt_over_the_context_window_is_refused_as_openai_does(local: Gateway) -> None:
    with pytest.raises(ProviderRejected) as caught:
        await local.complete(chat("word " * 5000))
    assert (caught.value.status, caught.value.body["code"]) == (400, "context_length_exceeded")


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
async def test_a_forced_function_is_called_with_arguments_of_its_schema(
    local: Gateway, choice: object
) -> None:
    request = chat("What is the weather in Paris?", tools=[WEATHER], tool_choice=choice, max_tokens=60)
    accumulator = ChunkAccumulator()
    async for chunk in local.chunks(request):
        accumulator.add(chunk)
    for completion in (await local.complete(request), accumulator.completion()):
        (called,) = completion["choices"][0]["message"]["tool_calls"]
        assert called["function"]["name"] == "get_weather"
        assert json.loads(called["function"]["arguments"]).keys() == {"city"}
        assert completion["choices"][0]["finish_reason"] == "tool_calls"


async def test_an_answer_keeps_to_the_requested_schema(local: Gateway) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "enum": [1, 2]}}, "required": ["n"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answer = await local.complete(chat("One or two?", response_format=response_format, max_tokens=40))
    assert json.loads(answer["choices"][0]["message"]["content"])["n"] in (1, 2)


async def test_images_are_refused(local: Gateway) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    request = {"model": "local", "messages": [{"role": "user", "content": [image]}]}
    with pytest.raises(ProviderRejected) as caught:
        await local.complete(request)
    assert caught.value.body["param"] == "messages[0].content"


async def test_texts_that_mean_the_same_are_near_each_other(local: Gateway) -> None:
    question, answer, other = await vectors(
        local,
        "How do I bake bread?",
        "Baking a loaf needs flour and yeast.",
        "The court rejected the appeal.",
    )
    assert question.shape == (384,)
    assert np.linalg.norm(question) == pytest.approx(1, abs=1e-3)
    assert question @ answer > 0.4
    assert question @ other < 0.2


async def test_a_vector_is_the_models_own(local: Gateway) -> None:
    """Against the cosine that all-MiniLM-L6-v2's authors publish for their example, to a percent."""
    first, second = await vectors(local, "This is an example sentence", "Each sentence is converted")
    assert first[:3] == pytest.approx([0.0676, 0.0635, 0.0487], abs=0.005)
    assert second[:3] == pytest.approx([0.0864, 0.1027, 0.0054], abs=0.005)


async def test_tokens_are_embedded_as_their_text(local: Gateway) -> None:
    from_text, from_tokens = await vectors(local, "hello world", [15339, 1917])
    assert from_text @ from_tokens == pytest.approx(1, abs=1e-3)


async def test_the_end_of_a_long_text_counts_too(local: Gateway) -> None:
    filler = "The weather report for the coast mentions light winds. " * 60
    plain, told, question = await vectors(
        local,
        filler,
        filler + "The password of the vault is swordfish. " * 12,
        "What is the vault's password?",
    )
    assert told @ question > plain @ question + 0.05


async def test_many_texts_keep_their_order(local: Gateway) -> None:
    texts = [f"Number {place}" for place in range(50)]
    together = await vectors(local, *texts)
    alone = await vectors(local, texts[37])
    assert alone[0] @ together[37] == pytest.approx(1, abs=1e-2)
    assert int(np.argmax(together @ alone[0])) == 37


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": "x", "dimensions": 10}, "dimensions", "invalid_value"),
        ({"input": "word " * 9000}, "input", "context_length_exceeded"),
        ({"input": [1, 10**9]}, "input", "invalid_value"),
    ],
)
async def test_unsupported_embedding_options_are_refused(
    local: Gateway, fields: dict[str, object], param: str, code: str
) -> None:
    with pytest.raises(ProviderRejected) as caught:
        await local.embed({"model": "local-embedding", **fields})
    assert (caught.value.body["param"], caught.value.body["code"]) == (param, code)


async def test_no_other_user_can_reach_the_models(models: LocalModels, local: Gateway) -> None:
    await local.complete(chat("Hi", max_tokens=1))
    assert models.sockets.stat().st_mode & 0o077 == 0


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return True
    return state == "Z"


async def test_a_process_that_dies_is_restarted(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    models = LocalModels(tmp_path)
    models.start()
    gateway = Gateway(Routes.local(), local=models)
    await gateway.open()
    try:
        await gateway.complete(chat("Hi", max_tokens=1))
        assert models._process is not None
        (server,) = children(models._process.pid)
        os.kill(server, signal.SIGKILL)
        while not gone(server):
            await asyncio.sleep(0.01)
        await gateway.complete(chat("Hi", max_tokens=1))
    finally:
        await gateway.close()
        models.stop()
    assert not models.sockets.exists()


def test_the_models_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from inference.local.models import LocalModels\n"
        "models = LocalModels(Path(sys.argv[1])); models.start()\n"
        "print(models._process.pid, models.sockets, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, sockets = parent.stdout.readline().split()
    deadline = time.monotonic() + 30
    while not (servers := children(int(pid))) and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while time.monotonic() < deadline and not all(map(gone, [int(pid), *servers])):
        time.sleep(0.02)
    assert all(map(gone, [int(pid), *servers]))
    assert not Path(sockets).exists()
