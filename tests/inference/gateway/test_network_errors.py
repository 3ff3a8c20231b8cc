import inspect
import ssl
from contextlib import aclosing

import aiohttp
import pytest
import yarl

from inference.errors import ProviderBroken, ProviderError, ProviderTimeout
from inference.gateway.http.http_client import HttpClient, Timeouts
from inference.gateway.http.network_errors import CONNECTING, Table, mapped
from inference.gateway.http.proxied_client import ProxiedClient, of_aiohttp
from tests.inference.gateway.test_http_client import TIMEOUTS, serving

AIOHTTP = of_aiohttp(5)


def test_every_error_of_aiohttp_is_in_its_table() -> None:
    errors = [
        error for _, error in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(error, Exception)
    ]
    sent = [error for error in errors if issubclass(error, aiohttp.ClientError | OSError)]
    assert len(sent) > 20
    kinds = tuple(kind for kind, _ in AIOHTTP)
    assert [error.__name__ for error in sent if not issubclass(error, kinds)] == []


@pytest.mark.parametrize("table", [CONNECTING, AIOHTTP], ids=["connecting", "aiohttp"])
def test_no_entry_of_a_table_is_hidden_by_an_earlier_one(table: Table) -> None:
    kinds = [kind for kind, _ in table]
    assert [kind for place, kind in enumerate(kinds) if issubclass(kind, tuple(kinds[:place]))] == []


def certificate_error() -> aiohttp.ClientConnectorCertificateError:
    error = ssl.SSLCertVerificationError("x")
    error.verify_message = "self-signed certificate"
    key = aiohttp.client_reqrep.ConnectionKey("provider.example", 443, True, True, None, None, None)
    return aiohttp.ClientConnectorCertificateError(key, error)


@pytest.mark.parametrize(
    ("table", "error", "kind", "words"),
    [
        (CONNECTING, TimeoutError(), ProviderBroken, "timed out"),
        (CONNECTING, ConnectionRefusedError(111, "Connection refused"), ProviderBroken, "Connection refused"),
        (AIOHTTP, aiohttp.SocketTimeoutError(), ProviderTimeout, "nothing for 5 seconds"),
        (AIOHTTP, certificate_error(), ProviderBroken, "self-signed certificate"),
        (AIOHTTP, aiohttp.ClientPayloadError(), ProviderBroken, "closed the stream"),
    ],
)
def test_an_error_says_what_happened(
    table: Table, error: Exception, kind: type[ProviderError], words: str
) -> None:
    with pytest.raises(kind, match=words), mapped(table):
        raise error


async def test_a_host_name_that_cannot_be_looked_up_is_a_providers_error() -> None:
    client = HttpClient()
    with pytest.raises(ProviderBroken, match="host name is not valid"):
        await client.send("GET", yarl.URL(f"http://{'a' * 70}.example/v1"), {}, None, Timeouts(3, 3))
    await client.close()


async def test_a_connection_lost_after_the_content_is_no_error_behind_a_proxy() -> None:
    client = ProxiedClient()
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nHello\r\n"
    async with (
        serving(answer) as url,
        aclosing(await client.send("GET", url, {}, None, TIMEOUTS)) as response,
    ):
        assert await anext(aiter(response)) == b"Hello"
        await response.drain()
    await client.close()
