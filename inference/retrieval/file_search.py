"""The file_search tool of runs: the model asks, the stores of assistant and thread are searched."""

import asyncio
from collections.abc import Callable, Sequence

import orjson

from inference import tokens
from inference.engine.items import Call
from inference.engine.tools import Citation, Emit, Tool, ToolContext, ToolResult, ToolType
from inference.retrieval.citations import citation, mark
from inference.retrieval.errors import RetrievalError
from inference.retrieval.filters import parse_filter
from inference.retrieval.retrieval import Retrieval
from inference.retrieval.search import Found, RankingOptions
from persistence.types import JSON

RANKER = "default_2024_08_21"
DEFAULT_RESULTS = 20
MAX_QUERIES = 8
MAX_TOKENS = 16_000
"""Of the results of one call, OpenAI's budget; and a third of the model's window at most."""

NOTHING = "Nothing was found in the files."
NOTHING_ELSEWHERE = "The files that could be searched hold nothing about it."

DEFINITION = {
    "type": "function",
    "function": {
        "name": "file_search",
        "description": (
            "Searches the files that were uploaded for this conversation and gives passages of them. Use it "
            "whenever the files may hold what the user asks for. Where your answer rests on a passage, put "
            "the passage's mark behind the sentence, exactly as it is given, such as "
            "\u30100:2\u2020report.pdf\u3011."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "queries": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "What to search for, each query a few words or a question of its own.",
                }
            },
            "required": ["queries"],
        },
    },
}


class FileSearchType(ToolType):
    """The type file_search; `context_window` returns the tokens that a model takes."""

    def __init__(self, retrieval: Retrieval, context_window: Callable[[str], int]) -> None:
        self._retrieval = retrieval
        self._context_window = context_window

    async def check(self, project: str, entry: JSON) -> None:
        """Raise what a search would raise later; runs have their stores in their resources."""
        options = entry["file_search"]
        for id in options.get("vector_store_ids") or ():
            await self._retrieval.vector_stores.usable(project, id, "vector_store_ids")
        if options.get("filters") is not None:
            parse_filter(options["filters"])

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool of a run; RequestRefused if a store of the run has expired."""
        await self._retrieval.present(context.project, _vector_stores(context.resources))
        budget = min(MAX_TOKENS, self._context_window(context.model) // 3)
        return FileSearch(self._retrieval, context, budget)


class FileSearch(Tool):
    """The tool of one run; `budget` is how many tokens the results of a call may have."""

    item_type = "file_search_call"

    def __init__(self, retrieval: Retrieval, context: ToolContext, budget: int) -> None:
        self._retrieval = retrieval
        self._project = context.project
        self._options = context.tool.get("file_search") or {}
        self._stores = _vector_stores(context.resources)
        filters = self._options.get("filters")
        self._filter = None if filters is None else parse_filter(filters)
        self._calls = list(context.results)
        self._credentials = None if context.caller is None else context.caller.for_embedding
        self._budget = budget

    def definitions(self) -> list[JSON]:
        """Return the one function that the model sees."""
        return [DEFINITION]

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Search for the model's queries, once the files that it may ask for were ingested."""
        ranking = self._options.get("ranking_options") or {}
        threshold = ranking.get("score_threshold") or 0.0
        emit("searching", {})
        details: JSON = {
            "ranking_options": {"ranker": RANKER, "score_threshold": threshold},
            "results": [],
        }
        number = len(self._calls)
        self._calls.append(details)  # at once: calls side by side have numbers of their own
        try:
            queries = asked_queries(str(call.arguments))
            stores = await self._retrieval.present(self._project, self._stores)
            found = await self._found(stores, queries, RankingOptions(RANKER, threshold))
            output, shown = await asyncio.to_thread(_rendered, found, number, self._budget)
        except (ValueError, RetrievalError) as exc:
            return ToolResult(f"The search failed: {exc}", details)
        details["results"] = [_result(item) for item in found[:shown]]
        warnings = await self._warnings(stores)
        if not found:
            output = NOTHING_ELSEWHERE if warnings else NOTHING
        return ToolResult("\n\n".join([output, *warnings]), details)

    async def _warnings(self, stores: Sequence[str]) -> list[str]:
        """Return what the model has to know of stores and files that were not searched."""
        missing = [id for id in self._stores if id not in stores]
        failed = await self._retrieval.failed_files(self._project, stores)
        return [
            *(f"The vector store {id} was deleted and was not searched." for id in missing),
            *(f"The file {name} could not be read and was not searched: {why}" for name, why in failed),
        ]

    def cite(self, mark: str, start: int, before: str) -> Citation | None:
        """Return the file_citation of a mark that names a result of this run."""
        annotation = citation(mark, start, before, self._calls)
        return None if annotation is None else Citation(annotation)

    async def _found(
        self, stores: Sequence[str], queries: Sequence[str], ranking: RankingOptions
    ) -> list[Found]:
        await self._retrieval.ingested(self._project, stores)
        limit = self._options.get("max_num_results") or DEFAULT_RESULTS
        return await self._retrieval.search(
            self._project,
            stores,
            queries,
            limit=limit,
            filter=self._filter,
            ranking=ranking,
            credentials=self._credentials,
        )


def _vector_stores(resources: Sequence[JSON]) -> list[str]:
    """Return the stores of the assistant and of the thread, each once."""
    ids = [id for each in resources for id in (each.get("file_search") or {}).get("vector_store_ids") or ()]
    return list(dict.fromkeys(ids))


def asked_queries(arguments: str) -> list[str]:
    """Return the queries that a model wrote; raise ValueError, whose message the model reads."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError as exc:
        raise ValueError('The arguments are no JSON; write {"queries": ["…"]}.') from exc
    queries = given.get("queries", given.get("query")) if isinstance(given, dict) else None
    if isinstance(queries, str):
        queries = [queries]
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError('The arguments name no queries; write {"queries": ["…"]}.')
    asked = [query for query in queries if query.strip()][:MAX_QUERIES]
    if not asked:
        raise ValueError("The queries are empty.")
    return asked


def _rendered(found: Sequence[Found], call: int, budget: int) -> tuple[str, int]:
    """Return the results as text for the model, within the budget of tokens, and how many they are."""
    passages: list[str] = []
    for number, item in enumerate(found):
        passage = f"{mark(call, number, item.filename)}\n{item.text}"
        encoded = tokens.encode(passage)
        if len(encoded) > budget:
            if not passages:  # Better a part of the best than nothing.
                passages.append(tokens.decode(encoded[:budget]))
            break
        budget -= len(encoded)
        passages.append(passage)
    return "\n\n".join(passages), len(passages)


def _result(found: Found) -> JSON:
    return {
        "file_id": found.file_id,
        "file_name": found.filename,
        "score": found.score,
        "attributes": found.attributes,
        "content": [{"type": "text", "text": found.text}],
    }
