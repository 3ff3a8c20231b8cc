"""Retrieval quality on any data set in BEIR's format, by words, vectors and both, through the API.

    python -m bench.retrieval FOLDER…

A folder holds corpus.jsonl (`_id`, `title`, `text`), queries.jsonl (`_id`, `text`) and
qrels/test.tsv (query, document, grade). Two servers are started, one of them without an embedding
model; every document is a file of a vector store. An answer of the API holds 50 results at most, so
recall@100 is that of the best 100 of what four quarters of the corpus answer, each by a filter.
"""

import asyncio
import csv
import json
import math
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click

from persistence.types import JSON
from tests.server import Server

Ranking = Sequence[str]
"""Ids of documents, best first."""

QUARTERS = 4
BATCH = 500
AT_ONCE = 16
PATIENCE = 24 * 3600
MOST_RESULTS = 50
TOLERANCE = 0.01

WITHOUT_EMBEDDINGS = "models:\n  local: {provider: local}\n"


@dataclass(frozen=True, slots=True)
class DataSet:
    """Documents and queries by id, and for each query the grades of its relevant documents."""

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]

    @classmethod
    def read(cls, folder: Path, most_queries: int | None) -> "DataSet":
        documents = {
            line["_id"]: f"{line.get('title') or ''}\n{line['text']}".strip()
            for line in _lines(folder / "corpus.jsonl")
        }
        grades: dict[str, dict[str, int]] = {}
        with (folder / "qrels" / "test.tsv").open(newline="") as file:
            for query, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
                if int(grade) > 0:
                    grades.setdefault(query, {})[document] = int(grade)
        texts = {line["_id"]: line["text"] for line in _lines(folder / "queries.jsonl")}
        queries = {id: texts[id] for id in list(grades)[:most_queries]}
        return cls(folder.resolve().name, documents, queries, grades)


def _lines(path: Path) -> Iterator[JSON]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


class Client:
    """The API calls of this bench."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def ask(self, method: str, path: str, **options: Any) -> JSON:
        async with self._slots, self._session.request(method, f"/v1{path}", **options) as answer:
            body: JSON = await answer.json()
        if answer.status != 200:
            raise click.ClickException(f"{method} {path}: {answer.status} {body['error']['message']}")
        return body

    async def fill(self, data: DataSet) -> str:
        """Make a vector store with a file per document, named by the document's id; return the store's id."""
        store = str((await self.ask("POST", "/vector_stores", json={"name": data.name}))["id"])
        ids = list(data.documents)
        for start in range(0, len(ids), BATCH):
            members = await asyncio.gather(
                *(
                    self._upload(id, data.documents[id], (start + n) % QUARTERS)
                    for n, id in enumerate(ids[start : start + BATCH])
                )
            )
            files = [member for member in members if member is not None]
            await self.ask("POST", f"/vector_stores/{store}/file_batches", json={"files": files})
        while (await self.ask("GET", f"/vector_stores/{store}"))["status"] == "in_progress":
            await asyncio.sleep(1)
        return store

    async def _upload(self, id: str, text: str, quarter: int) -> JSON | None:
        """Return a file of a batch; None for a document without text."""
        if not text:
            return None
        form = aiohttp.FormData({"purpose": "assistants"})
        form.add_field("file", text.encode(), filename=f"{id}.txt", content_type="text/plain")
        file = await self.ask("POST", "/files", data=form)
        return {"file_id": file["id"], "attributes": {"quarter": quarter}}

    async def search(
        self, store: str, query: str, ranker: str, quarter: int | None = None
    ) -> list[tuple[str, float]]:
        """Return (document, score) of the results, best first."""
        body: JSON = {
            "query": query,
            "max_num_results": MOST_RESULTS,
            "ranking_options": {"ranker": ranker},
        }
        if quarter is not None:
            body["filters"] = {"type": "eq", "key": "quarter", "value": quarter}
        page = await self.ask("POST", f"/vector_stores/{store}/search", json=body)
        return [(item["filename"].removesuffix(".txt"), item["score"]) for item in page["data"]]


async def measure(client: Client, store: str, data: DataSet, ranker: str) -> tuple[float, float]:
    """Return nDCG@10 and recall@100, as means over all queries."""

    async def one(id: str, query: str) -> tuple[float, float]:
        whole, *quarters = await asyncio.gather(
            client.search(store, query, ranker),
            *(client.search(store, query, ranker, quarter) for quarter in range(QUARTERS)),
        )
        parts = sorted((item for quarter in quarters for item in quarter), key=lambda item: -item[1])
        grades = data.grades[id]
        return ndcg(_documents(whole), grades), recall(_documents(parts), grades)

    results = await asyncio.gather(*(one(id, query) for id, query in data.queries.items()))
    gains, recalls = zip(*results, strict=True)
    return sum(gains) / len(gains), sum(recalls) / len(recalls)


def _documents(results: Sequence[tuple[str, float]]) -> Ranking:
    """Rank each document by its best chunk."""
    return list(dict.fromkeys(document for document, _ in results))


def ndcg(ranking: Ranking, grades: Mapping[str, int], depth: int = 10) -> float:
    """Return the normalized discounted cumulative gain, as trec_eval computes it."""
    gained = _discounted([grades.get(document, 0) for document in ranking[:depth]])
    return gained / _discounted(sorted(grades.values(), reverse=True)[:depth])


def _discounted(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(place + 2) for place, grade in enumerate(grades))


def recall(ranking: Ranking, grades: Mapping[str, int], depth: int = 100) -> float:
    """Return the share of the relevant documents among the first results."""
    return len(set(ranking[:depth]) & set(grades)) / len(grades)


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[Client]:
    """Return a client of the server."""
    async with aiohttp.ClientSession(
        server.root, timeout=aiohttp.ClientTimeout(600), headers={"authorization": "Bearer bench"}
    ) as session:
        yield Client(session)


def run(data: DataSet, folder: Path, models: Path | None) -> dict[str, tuple[float, float]]:
    """Return the figures of each kind of search."""
    plain = folder / "models.yaml"
    plain.write_text(WITHOUT_EMBEDDINGS)
    own = {"ASTROLABE_MODELS": str(models.resolve())} if models is not None else {}
    servers: tuple[tuple[str, JSON, dict[str, str]], ...] = (
        ("words", {"ASTROLABE_MODELS": str(plain)}, {"BM25": "auto"}),
        ("both", own, {"vectors": "none", "hybrid": "auto"}),
    )
    figures = {}
    for name, environment, rankers in servers:
        (folder / name).mkdir()
        with Server(folder / name, **environment) as server:
            figures.update(asyncio.run(_figures(server, data, rankers)))
    return figures


async def _figures(
    server: Server, data: DataSet, rankers: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    async with client_of(server) as client:
        store = await client.fill(data)
        return {name: await measure(client, store, data, ranker) for name, ranker in rankers.items()}


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--queries", type=int, help="Ask so many of the queries only.")
@click.option(
    "--models",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A models.yaml with the embedding model to measure, in place of the local one.",
)
def main(folders: tuple[Path, ...], queries: int | None, models: Path | None) -> None:
    """Print nDCG@10 and recall@100 of each data set by BM25, by vectors and by both."""
    click.echo(f"{'data set':20} {'documents':>9} {'queries':>8}  {'by':8} nDCG@10  recall@100")
    for path in folders:
        data = DataSet.read(path, queries)
        with tempfile.TemporaryDirectory(prefix="astrolabe-retrieval-") as folder:
            figures = run(data, Path(folder), models)
        for name, (gain, found) in figures.items():
            counts = f"{len(data.documents):9} {len(data.queries):8}"
            click.echo(f"{data.name:20} {counts}  {name:8} {gain:7.4f}  {found:10.4f}")
        lead = figures["hybrid"][0] - max(figures["BM25"][0], figures["vectors"][0])
        verdict = "holds" if lead >= -TOLERANCE else "MISSED"
        click.echo(
            f"{data.name:20} hybrid against the better of both: {lead:+.4f} (≥ -{TOLERANCE}: {verdict})"
        )


if __name__ == "__main__":
    main()
