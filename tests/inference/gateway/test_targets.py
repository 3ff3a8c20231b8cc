from collections.abc import Callable
from typing import Any

import pytest

from inference.errors import ProviderRejected
from inference.gateway import CallerPolicy, Credentials, Gateway, Routes
from inference.gateway.failures import make_error
from inference.gateway.http.hosts import HostGuard
from inference.gateway.routing.targets import Target
from tests.inference.gateway.conftest import KEY
from tests.provider import ProviderProcess

OPERATORS = Target(
    "p",
    "openai",
    "m",
    base_url="https://provider.example/v1",
    api_key=KEY,
    headers=(("x-api-key", "another-key"),),
)
CALLERS = CallerPolicy(True, HostGuard(frozenset({"allowed.example", "127.0.0.1:9000"})))


def test_a_callers_key_replaces_the_operators() -> None:
    target = CALLERS.apply(OPERATORS, Credentials("sk-the-callers"))
    assert (target.api_key, target.headers, target.base_url) == ("sk-the-callers", (), OPERATORS.base_url)


@pytest.mark.parametrize(
    "url",
    [
        "https://allowed.example/v1",
        "http://allowed.example",
        "https://ALLOWED.example:443/v1",
        "http://127.0.0.1:9000/v1",
    ],
)
def test_a_callers_base_url_on_the_operators_list_is_used_without_the_operators_key(url: str) -> None:
    target = CALLERS.apply(OPERATORS, Credentials(None, url))
    assert target.base_url == url
    assert (target.api_key, target.headers) == (None, ())


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/v1",
        "https://allowed.example:8443/v1",
        "https://allowed.example.elsewhere.example",
        "https://allowed.example@elsewhere.example/",
        "https://elsewhere.example/#allowed.example",
        "https://elsewhere.example\\@allowed.example/",
        "https://user:password@allowed.example/",
        "https://allowed.example/?x=",
        "http://127.0.0.1:9001",
        "http://127.0.0.1",
        "http://2130706433:9000/",
        "http://[::1]:9000/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://allowed.example/",
        "allowed.example",
        "http://",
        "http://[",
        "",
        "http://allowed.example:port/",
    ],
)
@pytest.mark.parametrize("name", ["base_url", "api_base"])
def test_any_other_base_url_is_refused(url: str, name: str) -> None:
    credentials = [Credentials("sk-x", None, ((name, url),))]
    if url:
        credentials.append(Credentials("sk-x", url))
    for given in credentials:
        with pytest.raises(ProviderRejected) as caught:
            CALLERS.apply(OPERATORS, given)
        assert (caught.value.status, caught.value.body["param"]) == (400, "base-url")


@pytest.mark.parametrize("url", ["https://provider.example/v1", "http://api.openai.com/v1"])
def test_no_host_but_the_providers_own_is_allowed_by_default(url: str) -> None:
    with pytest.raises(ProviderRejected):
        CallerPolicy().apply(OPERATORS, Credentials("sk-x", url))
    own = CallerPolicy().apply(OPERATORS, Credentials("sk-x", "https://api.openai.com/v1"))
    assert own.base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vertex_credentials", "/etc/passwd"),
        ("mock_response", "x"),
        ("custom_llm_provider", "x"),
        ("aws_region_name", "evil.example/#"),
        ("vertex_location", "a.b"),
        ("api_version", "1&x=2"),
    ],
)
def test_a_dangerous_parameter_is_refused(name: str, value: str) -> None:
    with pytest.raises(ProviderRejected) as caught:
        CALLERS.apply(OPERATORS, Credentials("sk-x", None, ((name, value),)))
    assert caught.value.body["param"] == name


def test_credentials_and_targets_do_not_show_their_keys() -> None:
    shown = repr(Credentials("sk-secret", None, (("aws_secret_access_key", "secret"),))) + repr(OPERATORS)
    assert "secret" not in shown
    assert KEY not in shown
    assert "another-key" not in shown


def test_only_secrets_are_masked() -> None:
    target = Target(
        "p", "litellm", "m", headers=(("anthropic-version", "2023-06-01"), ("Authorization", "Bearer 12345"))
    )
    assert target.secrets() == ("Bearer 12345",)


def test_a_short_key_is_masked_in_errors_if_it_is_a_word() -> None:
    target = Target("p", "openai", "m", api_key="abc-12")
    error = make_error(target, 401, {"message": "Wrong key 'abc-12' (abc-123)"})
    assert str(error) == "Wrong key '***' (abc-123)"
    assert target.filter.value("abc-12") == "abc-12"


def test_a_placeholder_is_not_a_secret() -> None:
    assert Target("p", "openai", "m", api_key="none").secrets() == ()


async def test_a_callers_key_is_sent_for_that_request_only(
    gateway: Gateway, ask: Callable[..., Any], provider: ProviderProcess, tag: str
) -> None:
    await gateway.complete(ask(text="x"), Credentials("sk-the-callers-own"))
    await gateway.complete(ask(text="x"))
    keys = [record["headers"]["authorization"] for record in provider.received(tag)]
    assert keys == ["Bearer sk-the-callers-own", f"Bearer {KEY}"]


async def test_a_callers_key_goes_to_no_other_provider(
    tmp_path: Any, provider: ProviderProcess, tag: str
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers:
  a: {{base_url: "http://127.0.0.1:1/v1", retries: 0}}
  b: {{base_url: "{provider.url}", retries: 0}}
models:
  first: {{provider: a, fallbacks: [second]}}
  second: {{provider: b}}
""")
    gateway = Gateway(Routes.from_file(path, {}), CallerPolicy(accepts_credentials=True))
    await gateway.open()
    request = {"model": "first", "messages": [{"role": "user", "content": f'script: {{"tag": "{tag}"}}'}]}
    with pytest.raises(Exception, match="cannot be reached"):
        await gateway.complete(request, Credentials("sk-the-callers-own"))
    assert provider.received(tag) == []
    await gateway.complete(request)
    assert len(provider.received(tag)) == 1
    await gateway.close()


async def test_a_callers_key_is_ignored_unless_the_operator_allows_it(
    ask: Callable[..., Any], provider: ProviderProcess, tag: str
) -> None:
    gateway = Gateway(Routes.from_environment(KEY, provider.url))
    await gateway.open()
    await gateway.complete(ask(text="x"), Credentials("sk-the-callers-own", "http://127.0.0.1:1"))
    await gateway.close()
    assert provider.received(tag)[0]["headers"]["authorization"] == f"Bearer {KEY}"
