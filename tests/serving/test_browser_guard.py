"""A server without keys refuses what a web page of another site makes a browser send."""

import httpx
import pytest

from handlers.errors import Forbidden
from serving.browser_guard import BrowserGuard
from serving.cors import Cors
from serving.request import Headers, Request
from tests.server import Server


def check(
    headers: dict[str, str], *, hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()
) -> str | None:
    """Return the code of the refusal, None where the request may go on."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request("req", "GET", "/v1/threads", "/v1/threads", b"", Headers(raw))
    try:
        BrowserGuard(hosts, Cors(origins)).check(request)
    except Forbidden as error:
        return error.code
    return None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8080",
        "localhost",
        "LOCALHOST:80",
        "[::1]:8080",
        "[::1]",
        "10.1.2.3",
        "astrolabe:8080",
        "host.docker.internal:8080",
        "a.localhost",
        "laptop.local.",
        "astrolabe.default.svc.cluster.local",
        "astrolabe.default.svc:80",
        "nas.lan",
        "",
    ],
)
def test_addresses_and_private_names_are_served(host: str) -> None:
    assert check({"host": host}) is None


@pytest.mark.parametrize(
    "host", ["rebound.example.com", "rebound.example.com:8080", "127.0.0.1.example.com", "a.local.example"]
)
def test_a_public_name_is_refused_unless_it_is_allowed(host: str) -> None:
    assert check({"host": host}) == "host_not_allowed"
    assert check({"host": host}, hosts=(host.partition(":")[0],)) is None
    assert check({"host": host}, hosts=("*",)) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://[evil]"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1.evil.example:8080"},
    ],
)
def test_a_cross_site_request_is_refused(headers: dict[str, str]) -> None:
    assert check({"host": "127.0.0.1:8080", **headers}) == "cross_site_request"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:8080"},
        {"sec-fetch-site": "none"},
        {"origin": "https://a.example", "sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_the_same_site_or_an_allowed_origin_is_served(headers: dict[str, str]) -> None:
    assert check({"host": "127.0.0.1:8080", **headers}, origins=("https://a.example",)) is None


@pytest.mark.server
def test_the_refusal_names_the_setting(server: Server) -> None:
    for path in ("/v1/threads", "/", "/metrics"):
        refused = httpx.get(f"{server.root}{path}", headers={"Host": "rebound.example.com"})
        assert refused.status_code == 403
        assert "ASTROLABE_ALLOWED_HOSTS" in refused.json()["error"]["message"]
    for probe in ("/livez", "/readyz"):
        assert httpx.get(f"{server.root}{probe}", headers={"Host": "rebound.example.com"}).status_code == 200
    form = {"Origin": "https://evil.example"}
    refused = httpx.post(f"{server.url}/files", headers=form, files={"file": b"x"}, data={"purpose": "batch"})
    assert refused.status_code == 403
    assert "ASTROLABE_CORS_ORIGINS" in refused.json()["error"]["message"]


def test_a_link_on_another_site_may_be_followed() -> None:
    link = {"host": "127.0.0.1:8080", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert check(link) is None
    assert check({**link, "origin": "https://evil.example"}) == "cross_site_request"
