"""Pages are read as text, from where callers may send the server and from nowhere else."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.url_files import UrlFiles
from inference.parsing.sandbox import Sandbox
from inference.web.pages import PageFailed, Pages, passages
from tests.inference.web.fakes import Web


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The parser's process."""
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


@pytest.fixture
def pages(site: Web, sandbox: Sandbox) -> Pages:
    """Pages, also of the fake site."""
    guard = HostGuard(frozenset({f"127.0.0.1:{site.port}"}))
    return Pages(UrlFiles(guard, "ASTROLABE_SEARCH_HOSTS", "page"), sandbox)


def anywhere(_: str) -> bool:
    return True


async def test_a_page_is_its_text_and_its_title(pages: Pages, site: Web) -> None:
    page = await pages.read("p", f"{site.url}/moved", anywhere)
    assert page.url == f"{site.url}/article"
    assert page.title == "Tides of Brest"
    assert "The tide at Brest was 7.4 metres." in page.text
    assert "steal" not in page.text


async def test_a_text_is_read_as_it_is(pages: Pages, site: Web) -> None:
    assert (await pages.read("p", f"{site.url}/report.txt", anywhere)).text == "The report: nothing new."


async def test_wrong_bytes_of_a_page_without_a_charset_are_replaced(pages: Pages, site: Web) -> None:
    page = await pages.read("p", f"{site.url}/wrong-byte", anywhere)
    assert "The tide at Br\ufffdst was 7.4 metres." in page.text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/image.png", "its type 'image/png' cannot be read"),
        ("/huge", "it has more than 8388608 bytes"),
        ("/inside", "does not ask the host '169.254.169.254'.*ASTROLABE_SEARCH_HOSTS"),
        ("/gone", "its server answered with status 404"),
    ],
)
async def test_what_cannot_be_read_has_a_reason(pages: Pages, site: Web, path: str, reason: str) -> None:
    with pytest.raises(PageFailed, match=reason):
        await pages.read("p", site.url + path, anywhere)


async def test_no_redirect_leads_out_of_the_allowed_domains(pages: Pages, site: Web) -> None:
    with pytest.raises(PageFailed, match=r"the request's domains do not include '169\.254\.169\.254'"):
        await pages.read("p", f"{site.url}/inside", lambda host: host == "127.0.0.1")


async def test_pages_of_the_operators_network_are_opened_only_if_listed(site: Web, sandbox: Sandbox) -> None:
    with pytest.raises(PageFailed, match="does not ask the host"):
        await Pages(UrlFiles(), sandbox).read("p", f"{site.url}/article", anywhere)


async def test_a_name_that_resolves_to_the_operators_network_is_not_asked(
    site: Web, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", ("127.0.0.1", site.port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(PageFailed, match=r"does not ask the host 'rebound\.example'"):
        await Pages(UrlFiles(), sandbox).read("p", f"http://rebound.example:{site.port}/article", anywhere)
    assert site.fetched == []


def test_passages_are_around_the_words_in_any_case_and_do_not_overlap() -> None:
    text = "a" * 1000 + "The TIDE and the tide" + "b" * 1000 + "tide"
    first, second = passages(text, "Tide")
    assert "The TIDE and the tide" in first
    assert second.endswith("tide")
    assert passages(text, "moon") == passages(text, " ") == []
    assert len(passages("tide " * 100_000, "tide")) == 20
