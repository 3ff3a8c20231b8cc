"""A gateway of several routes: fallbacks, lists of models, and the embedding model that a provider has."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ModelNotFound, ProviderBroken, ProviderRejected
from inference.gateway import Gateway, Routes
from inference.gateway.routing.discovery import choose, find_embedding_model
from persistence.types import JSON
from tests.provider import ProviderProcess


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "models.yaml"
        path.write_text(text)
        return path

    return write


def gateway_of(file: Path) -> Gateway:
    return Gateway(Routes.from_file(file, {}))


@pytest.fixture
async def two(file: Callable[[str], Path], provider: ProviderProcess) -> Any:
    """Names `first`, with the fallback `second`, and `gone`, whose provider is not there."""
    text = f"""
providers:
  p: {{base_url: "{provider.url}", retries: 0}}
  gone: {{base_url: "http://127.0.0.1:1/v1", retries: 0}}
models:
  first: {{provider: p, model: upstream-1, fallbacks: [second]}}
  second: {{provider: p, model: upstream-2}}
  retried: {{provider: p, model: upstream-3, retries: 2}}
  gone: {{provider: gone, fallbacks: [first, second]}}
  "fake-*": {{provider: p, model: "gpt-*"}}
"""
    gateway = gateway_of(file(text))
    await gateway.open()
    yield gateway
    await gateway.close()


def scripted(tag: str, model: str, **by_model: Any) -> JSON:
    import json

    script = {"tag": tag, "by_model": {name.replace("_", "-"): [turn] for name, turn in by_model.items()}}
    return {"model": model, "messages": [{"role": "user", "content": f"script: {json.dumps(script)}"}]}


def text_of(answer: JSON) -> str:
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize("status", [0, 401, 403, 404, 429, 500])
async def test_a_fallback_answers_if_the_first_provider_fails(
    two: Gateway, provider: ProviderProcess, tag: str, status: int
) -> None:
    request = scripted(tag, "first", upstream_1={"fail": {"status": status}}, upstream_2={"text": "second"})
    assert text_of(await two.complete(request)) == "second"
    frames = b"".join([frames async for frames in two.relay(request)])
    assert b"second" in frames
    second = ["upstream-2"] if status in (401, 403, 429) else ["upstream-1", "upstream-2"]  # it cools down
    asked = [record["body"]["model"] for record in provider.received(tag)]
    assert asked == ["upstream-1", "upstream-2", *second]


async def test_a_fallback_answers_for_an_unreachable_provider(two: Gateway, tag: str) -> None:
    request = scripted(tag, "gone", upstream_1={"text": "first"})
    assert text_of(await two.complete(request)) == "first"


async def test_an_invalid_request_does_not_fall_back(
    two: Gateway, provider: ProviderProcess, tag: str
) -> None:
    request = scripted(tag, "first", upstream_1={"fail": {"status": 400, "message": "wrong"}})
    with pytest.raises(ProviderRejected, match="wrong"):
        await two.complete(request)
    assert len(provider.received(tag)) == 1


async def test_the_first_targets_error_is_raised_if_none_answers(two: Gateway, tag: str) -> None:
    request = scripted(
        tag,
        "first",
        upstream_1={"fail": {"status": 500, "message": "the first"}},
        upstream_2={"fail": {"status": 503, "message": "the second"}},
    )
    with pytest.raises(ProviderBroken, match="the first"):
        await two.complete(request)


async def test_nothing_falls_back_after_the_first_byte(
    two: Gateway, provider: ProviderProcess, tag: str
) -> None:
    turn = {"text": "a b c", "close_after": 1, "delay": 0.01}
    request = scripted(tag, "first", upstream_1=turn, upstream_2={"text": "second"})
    frames = b"".join([frames async for frames in two.relay(request)])
    assert b'"error"' in frames
    assert len(provider.received(tag)) == 1


async def test_a_fallback_answers_although_the_first_provider_was_silent(two: Gateway, tag: str) -> None:
    silences: list[str] = []
    slow = {"wait": 1.3, "fail": {"status": 500}}
    request = scripted(tag, "first", upstream_1=slow, upstream_2={"text": "second"})
    relay = two.relay(request, on_silence=lambda: silences.append("silent"))
    assert b"second" in b"".join([frames async for frames in relay])
    assert silences == ["silent"]


async def test_waiting_for_a_retry_is_no_silence(two: Gateway, provider: ProviderProcess, tag: str) -> None:
    silences: list[str] = []
    fail = {"status": 503, "message": "still down", "retry_after": 1.3, "times": 2}
    request = scripted(tag, "retried", upstream_3={"fail": fail, "text": "up again"})
    relay = two.relay(request, on_silence=lambda: silences.append("silent"))
    assert b"up" in b"".join([frames async for frames in relay])
    assert len(provider.received(tag)) == 3
    assert silences == []


async def test_models_are_named_routes_and_the_providers_matches_of_patterns(two: Gateway) -> None:
    listed = {model["id"]: model for model in await two.list_models()}
    assert listed.keys() == {"first", "second", "retried", "gone", "fake-4o", "fake-4o-mini"}
    assert listed["first"]["owned_by"] == "p"
    assert (await two.retrieve_model("fake-4o"))["id"] == "fake-4o"
    with pytest.raises(ModelNotFound):
        await two.retrieve_model("fake-nothing")


# --- lists of models, and the embedding model that a provider has ---


@asynccontextmanager
async def listing(body: str, status: int = 200) -> AsyncIterator[str]:
    """A provider whose every answer is this one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    server.close()


async def test_a_dead_or_odd_provider_does_not_fail_the_list(
    file: Callable[[str], Path], provider: ProviderProcess
) -> None:
    async with (
        listing("<html>", 200) as odd,
        listing("{}", 500) as broken,
        listing('[{"id": "bare"}, "name"]') as bare,
    ):
        path = file(f"""
providers:
  dead: {{base_url: "http://127.0.0.1:1/v1"}}
  odd: {{base_url: "{odd}"}}
  broken: {{base_url: "{broken}"}}
  bare: {{base_url: "{bare}"}}
  live: {{base_url: "{provider.url}"}}
models:
  "dead/*": {{provider: dead, model: "*"}}
  "odd/*": {{provider: odd, model: "*"}}
  "broken/*": {{provider: broken, model: "*"}}
  "bare/*": {{provider: bare, model: "*"}}
  "live/*": {{provider: live, model: "*"}}
""")
        gateway = Gateway(Routes.from_file(path, {}))
        await gateway.open()
        names = {model["id"] for model in await gateway.list_models()}
        assert {"bare/bare", "bare/name", "live/gpt-4o"} <= names
        assert not any(name.startswith(("dead/", "odd/", "broken/")) for name in names)
        assert (await gateway.retrieve_model("live/gpt-4o"))["id"] == "live/gpt-4o"
        with pytest.raises(ModelNotFound):
            await gateway.retrieve_model("live/nothing")
        with pytest.raises(ProviderBroken):
            await gateway.retrieve_model("dead/x")
        await gateway.close()


async def test_a_name_of_a_pattern_is_a_model_where_no_provider_lists_its_models(
    file: Callable[[str], Path],
) -> None:
    async with (
        listing("{}", 404) as listless,
        listing("<html>") as page,
        listing('{"data": [{"id": "gpt-4o"}]}') as lists,
    ):
        path = file(f"""
providers:
  anthropic: {{wire: litellm}}
  listless: {{base_url: "{listless}"}}
  page: {{base_url: "{page}"}}
  lists: {{base_url: "{lists}"}}
models:
  "claude-*": {{provider: anthropic, model: "anthropic/claude-*"}}
  "llama-*": {{provider: listless}}
  "page-*": {{provider: page}}
  "gpt-*": {{provider: lists}}
  "fixed-*": {{provider: lists, model: gpt-4o}}
  "here-*": {{provider: local}}
""")
        gateway = gateway_of(path)
        await gateway.open()
        for name in ("claude-4", "llama-3", "page-1", "gpt-4o", "fixed-1", "here-1"):
            model = await gateway.retrieve_model(name)
            assert (model["id"], model["object"]) == (name, "model")
        with pytest.raises(ModelNotFound):
            await gateway.retrieve_model("gpt-5o")
        assert [model["id"] for model in await gateway.list_models()] == ["gpt-4o"]
        await gateway.close()


def test_a_providers_own_embedding_model_is_used(provider: ProviderProcess) -> None:
    assert find_embedding_model(provider.url, None) == "text-embedding-3-small"


@pytest.mark.parametrize("body", ['{"data": [{"id": "llama"}]}', "<html>", "[7]", '{"data": 7}'])
async def test_a_provider_without_embedding_models_has_none(body: str) -> None:
    async with listing(body) as url:
        assert await asyncio.to_thread(find_embedding_model, url, "sk-x") is None


def test_a_dead_provider_has_no_embedding_model() -> None:
    assert find_embedding_model("http://127.0.0.1:1/v1", None) is None


def test_the_first_name_with_embed_is_the_embedding_model() -> None:
    assert choose(["llama3", "nomic-embed-text", "text-embedding-ada-002"]) == "text-embedding-ada-002"
    assert choose(["llama3", "nomic-embed-text", "bge-embed"]) == "nomic-embed-text"


def test_without_an_embedding_model_the_local_one_is_used_if_installed() -> None:
    routes = Routes.from_environment(None, "http://127.0.0.1:1/v1")
    assert routes.with_embedding_model("own", ()).embedding_model == "own"
    local = routes.with_embedding_model(None, ())
    assert local.embedding_model == "local-embedding"
    assert local.wires() == {"openai", "local"}
    assert local.summary()["embedding"] == "local-embedding"
    assert routes.with_embedding_model(None, ("ctranslate2",)).embedding_model is None
