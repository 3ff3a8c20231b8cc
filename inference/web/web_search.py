"""The web_search tool of runs: the model searches, opens pages and cites them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson
import yarl

from inference import tokens
from inference.engine.errors import ToolUnavailable
from inference.engine.items import Call
from inference.engine.tools import Citation, Emit, Tool, ToolContext, ToolResult, ToolType
from inference.web.marks import MARK, display_name, link, mark_of, safe, untrusted
from inference.web.pages import Page, PageFailed, Pages, passages
from inference.web.search_services import (
    MAX_RESULTS,
    Found,
    SearchFailed,
    SearchOptions,
    SearchService,
    unique,
)
from inference.web.urls import urls_of
from persistence.types import JSON

SEARCH = "web_search"
OPEN_PAGE = "web_open_page"
FIND_IN_PAGE = "web_find_in_page"

FUNCTIONS = frozenset({SEARCH, OPEN_PAGE, FIND_IN_PAGE})
"""Names of the functions that the model calls."""

NO_SERVICE = "its operator has named no search service (ASTROLABE_SEARCH_SERVICE)"

MAX_QUERIES = 4
KEPT_PAGES = 8
"""Pages of a run that are kept as text, so that finding something in one does not fetch it again."""

MAX_SNIPPET = 2000
"""Characters of a result's text."""


@dataclass(frozen=True, slots=True)
class ContextSize:
    """How many results a search gives, and how many tokens of them or of a page the model reads."""

    results: int
    tokens: int


SIZES = {
    "low": ContextSize(5, 2_000),
    "medium": ContextSize(10, 6_000),
    "high": ContextSize(MAX_RESULTS, 16_000),
}
"""By `search_context_size`."""


class WebSearchType(ToolType):
    """The web_search tool; `service` is None where the operator has named none.

    `context_window` returns the tokens that a model takes.
    """

    def __init__(
        self, service: SearchService | None, pages: Pages, context_window: Callable[[str], int]
    ) -> None:
        self._service = service
        self._pages = pages
        self._context_window = context_window

    async def check(self, project: str, entry: JSON) -> None:  # noqa: ARG002 - of the interface
        """Raise ToolUnavailable without a search service."""
        if self._service is None:
            raise ToolUnavailable(entry["type"], NO_SERVICE)

    async def close(self) -> None:
        """Close every connection."""
        if self._service is not None:
            await self._service.close()

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool of a run; without a search service, one that the model does not see."""
        if self._service is None:
            return NoWebSearch()
        return WebSearch(self._service, self._pages, context, self._context_window(context.model) // 3)


class NoWebSearch(Tool):
    """The tool of a request that is answered without it."""

    item_type = "web_search_call"

    def definitions(self) -> list[JSON]:
        """Return no functions."""
        return []


class WebSearch(Tool):
    """The tool of one run; `budget` is how many tokens a call's output may have, whatever the request says.

    Only pages are opened that a search found or the caller's messages name: with any URL, a page's hidden
    instructions could have the model carry what it knows to a stranger's server.
    """

    item_type = "web_search_call"

    def __init__(self, service: SearchService, pages: Pages, context: ToolContext, budget: int) -> None:
        options: JSON = context.tool.get(context.tool["type"]) or {}
        size = SIZES[options.get("search_context_size") or "medium"]
        self._service = service
        self._read_pages = pages
        self._project = context.project
        self._location: JSON = options.get("user_location") or {}
        self._options = SearchOptions(size.results, allowed_domains(options), self._location)
        self._budget = min(size.tokens, budget)
        self._may_open = options.get("external_web_access") is not False
        self._calls = list(context.results)
        earlier = [_result(item) for item in context.earlier if item["type"] == self.item_type]
        known = [one["url"] for call in (*self._calls, *earlier) for one in call.get("results") or ()]
        self._known = {each for url in (*known, *urls_of(context.messages)) if (each := normal(url))}
        self._pages: dict[str, Page] = {}

    def definitions(self) -> list[JSON]:
        """Return the functions that the model sees; without access to the web, only the search."""
        search = _function(
            SEARCH,
            "Searches the web and gives results with their texts. Use it for what may have changed since you "
            f"were trained, and for facts that you are not sure of. {self._where()}Where your answer rests "
            "on a result or a page, put its mark behind the sentence, exactly as it is given, such as "
            "\u3010web0:1\u2020example.com\u3011.",
            queries={
                "type": "array",
                "items": {"type": "string"},
                "description": f"What to search for: one query, or up to {MAX_QUERIES} different ones.",
            },
        )
        if not self._may_open:
            return [search]
        url = {"type": "string", "description": "The URL of a result, or one that the user wrote."}
        offset = {"type": "integer", "description": "The character to begin at; 0 is the page's beginning."}
        pattern = {"type": "string", "description": "The words to find, as the page has them."}
        return [
            search,
            _function(OPEN_PAGE, "Opens a page and gives its text.", ("url",), url=url, offset=offset),
            _function(
                FIND_IN_PAGE, "Finds words in a page and gives what is around them.", url=url, pattern=pattern
            ),
        ]

    def details(self, name: str) -> JSON:
        """Return the action of a call whose arguments are not known yet."""
        return {"action": {"type": "search"} if name == SEARCH else {"type": "open_page", "url": None}}

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Run a call of one of the functions."""
        emit("searching", {})
        number, details = len(self._calls), self.details(call.name) | {"results": []}
        self._calls.append(details)  # at once: calls side by side have numbers of their own
        try:
            arguments = _arguments(str(call.arguments))
            if call.name == SEARCH:
                output = await self._search(arguments, number, details)
            elif call.name == OPEN_PAGE:
                output = await self._open(arguments, number, details)
            else:
                output = await self._find(arguments, number, details)
        except (ValueError, SearchFailed, PageFailed) as exc:
            error = {"code": "web_search_failed", "message": str(exc)}
            return ToolResult(str(exc), details, error)
        return ToolResult(output, details)

    def cite(self, mark: str, start: int, before: str) -> Citation | None:  # noqa: ARG002 - of the interface
        """Return the url_citation of a mark; a link replaces it."""
        match = MARK.fullmatch(mark)
        results = self._results(int(match[1])) if match else []
        if match is None or int(match[2]) >= len(results):
            return None
        result = results[int(match[2])]
        name = display_name(result["url"])
        if match[3].strip() != name:  # a mark of an earlier answer
            return None
        text = f"([{name}]({link(result['url'])}))"
        annotation = {
            "type": "url_citation",
            "text": text,
            "start_index": start,
            "end_index": start + len(text),
            "url_citation": {"url": result["url"], "title": result["title"]},
        }
        return Citation(annotation, text)

    # --- the functions ---

    async def _search(self, arguments: JSON, number: int, details: JSON) -> str:
        queries = asked_queries(arguments)
        details["action"] = {"type": "search", "query": queries[0], "queries": queries}
        answers = await asyncio.gather(
            *(self._service.search(query, self._options) for query in queries), return_exceptions=True
        )
        failures = [each for each in answers if isinstance(each, BaseException)]
        for failure in failures:
            if len(failures) == len(answers) or not isinstance(failure, SearchFailed):
                raise failure
        found = _in_turn([each for each in answers if not isinstance(each, BaseException)])
        output, shown = await asyncio.to_thread(self._rendered, found[: self._options.limit], number)
        details["results"] = [{"url": one.url, "title": one.title, "text": one.text} for one in shown]
        details["action"]["sources"] = [{"type": "url", "url": one.url} for one in shown]
        self._known |= {each for one in shown if (each := normal(one.url))}
        return output if shown else "Nothing was found."

    def _rendered(self, found: Sequence[Found], number: int) -> tuple[str, list[Found]]:
        """Return the results as text for the model, within the budget, and those that it has."""
        texts: list[str] = []
        budget = self._budget
        for place, one in enumerate(found):
            cut = replace(one, text=one.text[:MAX_SNIPPET])
            text = f"{mark_of(number, place, cut.url)} {safe(cut.title)}\n{cut.url}\n{safe(cut.text)}"
            budget -= tokens.count(text)
            if budget < 0 and texts:
                break
            texts.append(text)
        return untrusted("Results of the search", "\n\n".join(texts)), [*found[: len(texts)]]

    async def _open(self, arguments: JSON, number: int, details: JSON) -> str:
        url = self._allowed(arguments)
        details["action"] = {"type": "open_page", "url": url}
        page = await self._page(url)
        offset = arguments.get("offset")
        start = min(max(0, offset), len(page.text)) if isinstance(offset, int) else 0
        text = await asyncio.to_thread(_beginning, page.text[start : start + 8 * self._budget], self._budget)
        details["results"] = [{"url": url, "title": page.title or display_name(url), "text": text}]
        end = start + len(text)
        more = (
            f"\nThe page goes on: open it with offset {end} to read further." if end < len(page.text) else ""
        )
        head = f"{mark_of(number, 0, url)} {safe(page.title)}\n{url}\n"
        return untrusted("The page", head + safe(text)) + more

    async def _find(self, arguments: JSON, number: int, details: JSON) -> str:
        pattern = arguments.get("pattern")
        url = self._allowed(arguments)
        if not isinstance(pattern, str) or not pattern.strip():
            raise ValueError('The arguments name no pattern; write {"url": "…", "pattern": "…"}.')
        details["action"] = {"type": "find_in_page", "url": url, "pattern": pattern}
        page = await self._page(url)
        found = await asyncio.to_thread(passages, page.text, pattern)
        if not found:
            return "The page does not have these words."
        text = await asyncio.to_thread(_beginning, "\n…\n".join(found), self._budget)
        details["results"] = [{"url": url, "title": page.title or display_name(url), "text": text}]
        return untrusted("Passages of the page", f"{mark_of(number, 0, url)}\n{url}\n{safe(text)}")

    def _allowed(self, arguments: JSON) -> str:
        """Return the URL that a call names, if it may be opened."""
        given = arguments.get("url")
        url = normal(given) if isinstance(given, str) else ""
        if not url:
            raise ValueError('The arguments name no URL of http or https; write {"url": "https://…"}.')
        if url not in self._known:
            raise ValueError(
                f"'{url[:300]}' may not be opened: only pages that a search found, and those whose URL the "
                "user wrote. Search for it first."
            )
        return url

    async def _page(self, url: str) -> Page:
        page = self._pages.get(url)
        if page is None:
            page = await self._read_pages.read(self._project, url, self._options.allows)
            while len(self._pages) >= KEPT_PAGES:
                del self._pages[next(iter(self._pages))]
            self._pages[url] = page
        return page

    def _results(self, number: int) -> list[JSON]:
        return self._calls[number].get("results") or [] if number < len(self._calls) else []

    def _where(self) -> str:
        names = ("city", "region", "country", "timezone")
        known = [str(self._location[name])[:100] for name in names if self._location.get(name)]
        return f"The user is here: {', '.join(known)}. " if known else ""


def called_function(action: JSON) -> tuple[str, JSON]:
    """Return the function that a call's action stands for, and its arguments."""
    url = {"url": action.get("url") or ""}
    match action["type"]:
        case "open_page":
            return OPEN_PAGE, url
        case "find_in_page":
            return FIND_IN_PAGE, {**url, "pattern": action["pattern"]}
        case _:
            queries = action.get("queries") or [each for each in (action.get("query"),) if each]
            return SEARCH, {"queries": queries}


def results_text(results: Sequence[JSON]) -> str:
    """Return the results of an earlier response's call as text for the model."""
    members = ("title", "url", "text")
    texts = ["\n".join(safe(str(one[name])) for name in members if one.get(name)) for one in results]
    return untrusted("Results", "\n\n".join(texts))


def allowed_domains(options: JSON) -> tuple[str, ...]:
    """Return the domains of a request's filter: without scheme and path, which some write."""
    given = (options.get("filters") or {}).get("allowed_domains") or ()
    hosts = (each.strip().lower().partition("://")[2] or each.strip().lower() for each in given)
    return tuple(dict.fromkeys(host.partition("/")[0].strip(".") for host in hosts if host))


def asked_queries(arguments: JSON) -> list[str]:
    """Return the queries that a model wrote; ValueError."""
    queries = arguments.get("queries", arguments.get("query"))
    if isinstance(queries, str):
        queries = [queries]
    asked = [each.strip() for each in queries if isinstance(each, str)] if isinstance(queries, list) else []
    asked = list(dict.fromkeys(filter(None, asked)))[:MAX_QUERIES]
    if not asked:
        raise ValueError('The arguments name no queries; write {"queries": ["…"]}.')
    return asked


def normal(url: str) -> str:
    """Return a URL of the web as it is compared: without its fragment; "" for another text."""
    try:
        parsed = yarl.URL(url.strip())
        host, _ = parsed.host, parsed.port
    except ValueError:
        return ""
    return str(parsed.with_fragment(None)) if parsed.scheme in ("http", "https") and host else ""


def _function(name: str, description: str, required: Sequence[str] = (), **parameters: JSON) -> JSON:
    """Return a function for the model; all of its parameters are required unless some are named."""
    schema = {"type": "object", "properties": parameters, "required": [*(required or parameters)]}
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


def _arguments(text: str) -> JSON:
    try:
        given = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as exc:
        raise ValueError("The arguments are no JSON.") from exc
    if not isinstance(given, dict):
        raise ValueError("The arguments are no JSON object.")  # noqa: TRY004 - what the model reads
    return given


def _in_turn(answers: Sequence[Sequence[Found]]) -> list[Found]:
    """Return the results of several queries, each URL once: the best of each, then the second best."""
    most = max(map(len, answers), default=0)
    ordered = [each[place] for place in range(most) for each in answers if place < len(each)]
    return unique(ordered)


def _beginning(text: str, budget: int) -> str:
    """Return as much of a text as has so many tokens."""
    encoded = tokens.encode(text)
    return text if len(encoded) <= budget else tokens.decode(encoded[:budget]).rstrip("\ufffd")


def _result(item: JSON) -> JSON:
    """Return what an item of an earlier response found."""
    action = item.get("action") or {}
    found = [*(item.get("results") or ()), *(action.get("sources") or ())]
    return {"results": [each for each in found if isinstance(each.get("url"), str)]}
