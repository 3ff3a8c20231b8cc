"""Each search service is asked by its own wire, and its failures have a reason without its key."""

import asyncio

import pytest
from aiohttp import web

from inference.web import SERVICES, search_services
from inference.web.search_services import SearchFailed, SearchOptions, SearchService, search_service
from tests.inference.web.fakes import KEY, Web


def service_of(site: Web, name: str, key: str = KEY) -> SearchService:
    return search_service(next(each for each in SERVICES if each == name), f"{site.url}/{name}/", key)


@pytest.fixture(params=SERVICES)
def service(site: Web, request: pytest.FixtureRequest) -> SearchService:
    return service_of(site, request.param)


async def test_results_are_pages_of_the_web_each_once(service: SearchService, site: Web) -> None:
    found = await service.search("tides of Brest", SearchOptions(20))
    assert [each.url for each in found] == [f"{site.url}/article", f"{site.url}/report.txt"]
    assert found[0].title == f"Title of {site.url}/article"
    assert found[0].text.startswith("The tide at Brest & elsewhere")
    assert len(await service.search("tides", SearchOptions(1))) == 1
    await service.close()


async def test_results_outside_the_allowed_domains_are_left_out(service: SearchService) -> None:
    assert await service.search("tides", SearchOptions(20, ("example.com",))) == []
    assert len(await service.search("tides", SearchOptions(20, ("127.0.0.1",)))) == 2
    await service.close()


def test_subdomains_are_allowed_and_names_that_only_end_alike_are_not() -> None:
    options = SearchOptions(20, ("example.com",))
    assert options.allows("docs.Example.com")
    assert not options.allows("badexample.com")


async def test_services_are_asked_for_the_domains(site: Web) -> None:
    options = SearchOptions(20, ("a.example", "b.example"))
    for name in SERVICES:
        await service_of(site, name).search("tides", options)
    searxng, brave, tavily = site.searches
    assert searxng["q"] == brave["q"] == "tides (site:a.example OR site:b.example)"
    assert tavily["include_domains"] == ["a.example", "b.example"]


async def test_brave_is_told_where_the_user_is(site: Web) -> None:
    location = {"type": "approximate", "country": "de", "city": "K\u00f6ln\r\n", "timezone": "Europe/Berlin"}
    await service_of(site, "brave").search("tides", SearchOptions(20, (), location))
    asked = site.searches[0]
    assert asked["country"] == "DE"
    assert asked["headers"]["x-loc-city"] == "Kln"
    assert asked["headers"]["x-loc-timezone"] == "Europe/Berlin"


async def test_queries_are_as_long_as_brave_takes(site: Web) -> None:
    assert await service_of(site, "brave").search("word " * 300, SearchOptions(5, ("127.0.0.1",)))


async def test_an_answer_without_results_is_empty(site: Web) -> None:
    assert await service_of(site, "brave").search("nothing", SearchOptions()) == []


@pytest.mark.parametrize("name", ["brave", "tavily"])
async def test_a_wrong_key_is_named_and_not_shown(site: Web, name: str) -> None:
    with pytest.raises(SearchFailed, match="refuses the operator's key") as raised:
        await service_of(site, name, "another-key").search("tides", SearchOptions())
    assert "another-key" not in str(raised.value)


async def test_searxng_without_json_is_explained(service: SearchService, site: Web) -> None:
    async def odd(_: web.Request) -> web.Response:
        return web.Response(status=403, text="<h1>Forbidden</h1>")

    site.odd = odd
    with pytest.raises(
        SearchFailed, match="lists the format json" if service.name == "searxng" else "refuses"
    ):
        await service.search("tides", SearchOptions())


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (500, "", "answered with status 500"),
        (429, "{}", "the limit of its searches is reached"),
        (302, "", "answered with status 302"),
        (200, "<html>Welcome</html>", "its answer cannot be read"),
        (200, "[]", "its answer cannot be read"),
        (200, '{"results": [1], "web": {"results": [1]}}', "its answer cannot be read"),
        (200, '"' + "x" * search_services.MAX_ANSWER + '"', "longer than"),
    ],
)
async def test_an_odd_answer_fails_with_its_reason(
    service: SearchService, site: Web, status: int, text: str, reason: str
) -> None:
    async def odd(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    site.odd = odd
    with pytest.raises(SearchFailed, match=reason):
        await service.search("tides", SearchOptions())


async def test_a_slow_service_is_given_up(
    service: SearchService, site: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_services, "SECONDS", 0.2)
    released = asyncio.Event()

    async def odd(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    site.odd = odd
    with pytest.raises(
        SearchFailed, match=r"did not answer within 0\.2 seconds|sent nothing for 0\.2 seconds"
    ):
        await service.search("tides", SearchOptions())
    released.set()


async def test_a_service_that_is_not_there_is_named() -> None:
    with pytest.raises(SearchFailed, match="The search service failed: it cannot be reached"):
        await search_service("searxng", "http://127.0.0.1:1", "").search("tides", SearchOptions())
