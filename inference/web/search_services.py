"""Search services, each with its own wire: SearXNG, Brave and Tavily."""

import asyncio
import html
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
import structlog
import yarl

from inference.errors import InferenceError, ProviderError
from inference.gateway.answers import tolerant_json
from inference.gateway.http.http_client import Timeouts
from inference.gateway.http.web_client import WebClient
from inference.web import Service
from persistence.types import JSON

CONNECT_SECONDS = 5.0
SECONDS = 15.0
"""In which a search has to be answered."""

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of a service's answer."""

SHOWN = 300
"""Bytes of a refusal that are logged."""

MAX_RESULTS = 20
MAX_TITLE = 300
MAX_URL = 2048

BRAVE_QUERY = 400
BRAVE_WORDS = 50
"""Characters and words of a query, as many as Brave takes."""

# fmt: off
BRAVE_COUNTRIES = frozenset(
    {
        "AR", "AT", "AU", "BE", "BR", "CA", "CH", "CL", "CN", "DE", "DK", "ES", "FI", "FR", "GB", "HK", "ID",
        "IN", "IT", "JP", "KR", "MX", "MY", "NL", "NO", "NZ", "PH", "PL", "PT", "RU", "SA", "SE", "TR", "TW",
        "US", "ZA"
    }
)
# fmt: on
"""Countries whose results Brave can prefer."""

TAG = re.compile(r"<[^<>]{0,200}>")

log = structlog.get_logger("astrolabe.web")


class SearchFailed(InferenceError):
    """The search service did not answer; the message is for the model and the caller."""


@dataclass(frozen=True, slots=True)
class Found:
    """One result of a search."""

    url: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What a request's tool says about its searches; `location` is its `user_location`."""

    limit: int = 10
    domains: tuple[str, ...] = ()
    location: JSON = field(default_factory=dict)

    def allows(self, host: str) -> bool:
        """Return whether a host is one of the domains, or below one; every host without domains."""
        host = host.lower()
        return not self.domains or any(host == each or host.endswith(f".{each}") for each in self.domains)


class SearchService(ABC):
    """A search service; `base_url` is where it is, `key` the operator's key for it."""

    name: str
    default_url: str = ""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = (base_url or self.default_url).rstrip("/")
        self._key = key
        self._client = WebClient()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def search(self, query: str, options: SearchOptions) -> list[Found]:
        """Return the results of a query, the best first; SearchFailed."""
        method, path, parameters, body = self.request(query, options)
        url = yarl.URL(self.base_url + path).update_query(parameters)
        headers = {"accept": "application/json", "accept-encoding": "identity", **self.headers(options)}
        payload = None
        if body is not None:
            headers["content-type"] = "application/json"
            payload = orjson.dumps(body)
        try:
            async with asyncio.timeout(SECONDS):
                status, answer = await self._answer(method, url, headers, payload)
        except TimeoutError as exc:
            raise self._failed(f"it did not answer within {SECONDS:g} seconds") from exc
        except ProviderError as exc:
            raise self._failed(exc.message.replace("The provider", "it").rstrip(".")) from exc
        if status != HTTPStatus.OK:
            raise self._failed(self.explain(status), status=status, answer=answer.decode("utf-8", "replace"))
        try:
            results = self.results(tolerant_json.loads(answer))
            found = [one for each in results if (one := self._found(each)) is not None]
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise self._failed("its answer cannot be read") from exc
        allowed = [one for one in found if options.allows(yarl.URL(one.url).host or "")]
        return unique(allowed)[: options.limit]

    # --- the wire ---

    @abstractmethod
    def request(self, query: str, options: SearchOptions) -> tuple[str, str, Mapping[str, str], JSON | None]:
        """Return method, path, query parameters and JSON body of a search."""

    def headers(self, options: SearchOptions) -> dict[str, str]:  # noqa: ARG002 - for subclasses
        """Return the headers of a search."""
        return {"authorization": f"Bearer {self._key}"} if self._key else {}

    @abstractmethod
    def results(self, answer: Any) -> Sequence[Any]:
        """Return the results in an answer, each with `url`, `title` and `content`."""

    def explain(self, status: int) -> str:
        """Return why a status that is not 200 was answered."""
        reasons = {401: "it refuses the operator's key", 403: "it refuses the request"}
        reasons |= dict.fromkeys((402, 429, 432, 433), "the limit of its searches is reached")
        return reasons.get(status, f"it answered with status {status}")

    def _found(self, result: Any) -> Found | None:
        """Return a result, None without a URL of the web."""
        url = result["url"]
        try:
            parsed = yarl.URL(url)
        except (TypeError, ValueError):
            return None
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.user or len(url) > MAX_URL:
            return None
        title, text = plain(result.get("title")), plain(result.get("content"))
        return Found(str(parsed.with_fragment(None)), title[:MAX_TITLE] or parsed.host, text)

    async def _answer(
        self, method: str, url: yarl.URL, headers: Mapping[str, str], payload: bytes | None
    ) -> tuple[int, bytes]:
        timeouts = Timeouts(CONNECT_SECONDS, SECONDS)
        response = await self._client.send(method, url, headers, payload, timeouts)
        async with aclosing(response):
            if response.status != HTTPStatus.OK:
                return response.status, await response.start(SHOWN)
            return response.status, await response.read(MAX_ANSWER)

    def _failed(self, reason: str, **facts: Any) -> SearchFailed:
        log.warning("search_failed", service=self.name, reason=reason, **facts)
        return SearchFailed(f"The search service failed: {reason}.")


class SearXNG(SearchService):
    """SearXNG, which the operator runs; its settings.yml must list `json` under `search.formats`."""

    name = "searxng"

    def request(self, query: str, options: SearchOptions) -> tuple[str, str, Mapping[str, str], JSON | None]:
        """Return a GET; SearXNG has no number of results, and filters by the engines' `site:`."""
        return "GET", "/search", {"q": with_sites(query, options.domains), "format": "json"}, None

    def results(self, answer: Any) -> Sequence[Any]:
        """Return `results`."""
        return list(answer["results"])

    def explain(self, status: int) -> str:
        """Return why it refused: mostly because JSON is not among its formats."""
        if status == 403:
            return "it refuses JSON; its operator lists the format json in its settings"
        return super().explain(status)


class Brave(SearchService):
    """Brave Search."""

    name = "brave"
    default_url = "https://api.search.brave.com/res/v1"

    def request(self, query: str, options: SearchOptions) -> tuple[str, str, Mapping[str, str], JSON | None]:
        """Return a GET; the query has the domains as operators."""
        short = " ".join(query.split()[:BRAVE_WORDS])[:BRAVE_QUERY]
        parameters = {
            "q": with_sites(short, options.domains, BRAVE_QUERY, BRAVE_WORDS),
            "count": str(min(options.limit, MAX_RESULTS)),
            "text_decorations": "false",
            "extra_snippets": "true",
            "result_filter": "web",
        }
        country = str(options.location.get("country") or "").upper()
        if country in BRAVE_COUNTRIES:
            parameters["country"] = country
        return "GET", "/web/search", parameters, None

    def headers(self, options: SearchOptions) -> dict[str, str]:
        """Return the key, and where the user is."""
        location = options.location
        names = {"city": "x-loc-city", "region": "x-loc-state-name", "country": "x-loc-country"}
        names["timezone"] = "x-loc-timezone"
        given = {header: _ascii(location.get(name)) for name, header in names.items()}
        return {"x-subscription-token": self._key, **{name: value for name, value in given.items() if value}}

    def results(self, answer: Any) -> Sequence[Any]:
        """Return the results of the web; an answer without any has no `web`."""
        found = (answer.get("web") or {"results": []})["results"]
        return [each | {"content": _brave_text(each)} for each in found]


class Tavily(SearchService):
    """Tavily."""

    name = "tavily"
    default_url = "https://api.tavily.com"

    def request(self, query: str, options: SearchOptions) -> tuple[str, str, Mapping[str, str], JSON | None]:
        """Return a POST."""
        body: JSON = {"query": query, "max_results": min(options.limit, MAX_RESULTS)}
        if options.domains:
            body["include_domains"] = [*options.domains]
        return "POST", "/search", {}, body

    def results(self, answer: Any) -> Sequence[Any]:
        """Return `results`."""
        return list(answer["results"])


def search_service(service: Service, url: str, key: str) -> SearchService:
    """Return the service of a name."""
    classes: dict[str, type[SearchService]] = {each.name: each for each in (SearXNG, Brave, Tavily)}
    return classes[service](url, key)


def unique(found: Iterable[Found]) -> list[Found]:
    """Return results without those whose URL came before."""
    first: dict[str, Found] = {}
    for one in found:
        first.setdefault(one.url, one)
    return [*first.values()]


def with_sites(query: str, domains: Sequence[str], most: int = 2000, words: int = 200) -> str:
    """Return a query that asks for pages of these domains, if they all fit."""
    sites: list[str] = []
    for domain in domains:
        longer = [*sites, f"site:{domain}"]
        joined = f"{query} ({' OR '.join(longer)})"
        if len(joined) > most or len(joined.split()) > words:
            break
        sites = longer
    if len(sites) < len(domains) or not sites:
        return query  # some of the domains would leave out the others
    return f"{query} {sites[0]}" if len(sites) == 1 else f"{query} ({' OR '.join(sites)})"


def plain(text: object) -> str:
    """Return a text of a result without markup, on one line."""
    return " ".join(html.unescape(TAG.sub("", text)).split()) if isinstance(text, str) else ""


def _brave_text(result: JSON) -> str:
    pieces = [result.get("description"), *(result.get("extra_snippets") or ())]
    return " … ".join(piece for piece in pieces if isinstance(piece, str))


def _ascii(value: object) -> str:
    """Return a header's value: without what headers cannot carry."""
    text = str(value or "").encode("ascii", "ignore").decode()
    return "".join(each for each in text if each.isprintable())[:100]
