import asyncio
import socket
from typing import Any

import pytest
import yarl

from inference.errors import ProviderBroken, ProviderRejected
from inference.gateway import CallerPolicy, Credentials
from inference.gateway.callers import complete
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.http_client import HttpClient, Timeouts
from inference.gateway.routing.any_provider import callers_routes
from inference.gateway.routing.targets import Target
from tests.provider import ProviderProcess

GUARD = HostGuard(frozenset({"gateway.example", "localhost:9000", "127.0.0.1:9000"}))


async def resolved(monkeypatch: pytest.MonkeyPatch, url: str, *addresses: str) -> str:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return await GUARD.address(GUARD.check(url), 5)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "169.254.1.1", "168.63.129.16", "224.0.0.1",
        "::1", "::", "fe80::1%eth0", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "240.0.0.1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", ["https://gateway.example/v1", "https://api.openai.com/v1"])
async def test_a_name_that_resolves_to_this_machine_or_to_metadata_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, address: str
) -> None:
    for addresses in ((address,), ("93.184.216.34", address)):
        with pytest.raises(ProviderRejected) as caught:
            await resolved(monkeypatch, url, *addresses)
        assert (caught.value.status, caught.value.body["param"]) == (400, "base-url")


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.1", "fd12::1", "100.64.0.1"])
async def test_only_a_listed_name_may_be_in_a_private_network(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    assert await resolved(monkeypatch, "https://gateway.example", address) == address
    with pytest.raises(ProviderRejected):
        await resolved(monkeypatch, "https://name.openai.azure.com", address)


async def test_an_address_of_this_machine_must_be_listed_itself() -> None:
    for url, address in (("http://localhost:9000", "localhost"), ("http://127.0.0.1:9000", "127.0.0.1")):
        assert await GUARD.address(GUARD.check(url), 5) == address


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(ProviderBroken):
        await HostGuard(frozenset({"nothing.invalid"})).address("https://nothing.invalid", 5)


async def test_a_connection_goes_to_the_address_that_was_checked(provider: ProviderProcess) -> None:
    client = HttpClient()
    url = yarl.URL(f"http://name.invalid:{provider.port}/v1/models")
    response = await client.send("GET", url, {}, None, Timeouts(5, 5), "127.0.0.1")
    assert (response.status, b"data" in await response.read()) == (200, True)
    await response.aclose()
    await client.close()


# --- the targets of callers who bring their own keys ---


def target(model: str, provider: str = "", **credentials: Any) -> Target:
    (found,) = callers_routes(None).find(model, provider).targets
    policy = CallerPolicy(True, HostGuard(frozenset({"gateway.example"})))
    return complete(policy.apply(found, Credentials(**credentials)))


@pytest.mark.parametrize(
    ("model", "provider", "wire", "upstream"),
    [
        ("gpt-4o", "", "openai", "gpt-4o"),
        ("openai/gpt-4o", "", "openai", "gpt-4o"),
        ("meta-llama/Llama-3", "", "openai", "meta-llama/Llama-3"),
        ("anthropic/claude-x", "", "litellm", "anthropic/claude-x"),
        ("claude-3-haiku-20240307", "", "litellm", "anthropic/claude-3-haiku-20240307"),
        ("llama-3", "groq", "litellm", "groq/llama-3"),
        ("groq/llama-3", "groq", "litellm", "groq/llama-3"),
    ],
)
def test_a_name_says_which_provider_is_asked(model: str, provider: str, wire: str, upstream: str) -> None:
    found = target(model, provider, api_key="sk-x")
    assert (found.wire, found.model, found.api_key) == (wire, upstream, "sk-x")


def test_azure_is_asked_by_the_path_of_its_deployment() -> None:
    parameters = (("api_version", "2024-06-01"),)
    found = target("azure/d", api_key="k", base_url="https://n.openai.azure.com/", parameters=parameters)
    assert found.base_url == "https://n.openai.azure.com/openai/deployments/d?api-version=2024-06-01"
    assert (found.wire, found.api_key, found.headers) == ("openai", None, (("api-key", "k"),))


def test_accounts_of_aws_and_google_are_the_callers_and_never_the_machines() -> None:
    aws = (("aws_access_key_id", "i"), ("aws_secret_access_key", "s"), ("aws_region_name", "eu-west-1"))
    found = target("bedrock/anthropic.claude", api_key="sk-x", parameters=aws)
    assert (found.api_key, dict(found.parameters)["aws_secret_access_key"]) == (None, "s")
    with pytest.raises(ProviderRejected, match="aws-access-key-id"):
        target("bedrock/anthropic.claude", api_key="sk-x")
    with pytest.raises(ProviderRejected, match="google-application-credentials-file-id"):
        target("vertex_ai/m", parameters=(("vertex_project", "p"), ("vertex_location", "l")))


@pytest.mark.parametrize("model", ["huggingface/http://127.0.0.1:1/", "a/../b", "../x", "gpt 4", "gpt\n", ""])
def test_a_name_cannot_leave_its_providers_url(model: str) -> None:
    with pytest.raises(Exception, match="does not exist"):
        target(model, api_key="sk-x")


def test_another_base_url_of_a_library_must_be_the_operators_word() -> None:
    with pytest.raises(ProviderRejected):
        target("anthropic/claude", api_key="sk-x", base_url="https://api.openai.com/v1")
    found = target("anthropic/claude", api_key="sk-x", base_url="https://gateway.example/v1")
    assert found.base_url == "https://gateway.example/v1"
