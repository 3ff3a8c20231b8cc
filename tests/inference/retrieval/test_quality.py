"""Questions about this project, asked of its own words: what the docstrings of its modules say."""

import ast
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from handlers import vector_store_file_batches, vector_stores
from inference.gateway import Gateway, Routes
from inference.local.models import LocalModels
from tests.fixtures.required import requires
from tests.inference.retrieval.library import Library, library_at, library_over
from tests.provider import ProviderProcess
from tests.server import ROOT

PARSING, RETRIEVAL = "inference/parsing", "inference/retrieval"
LONGEST = 2000
"""Characters of a document, so that the local model is done with all of them in seconds."""

Answers = tuple[str, ...]
"""The modules that say it, each as right as the others."""

QUESTIONS: dict[str, str | Answers] = {
    "Which bytes of a download does the Range header ask for?": "handlers/files.py",
    "How often is a job tried whose handler fails, and who renews its lease?": "inference/jobs.py",
    "Where does the table of tokens come from without a network?": "inference/tokens.py",
    "How are the ids of new objects made?": "inference/identifiers.py",
    "In what order are the parts of an upload joined?": (f"{RETRIEVAL}/uploads.py", "handlers/uploads.py"),
    "What is the file parser kept from by seccomp and Landlock?": (
        f"{PARSING}/confinement.py",
        f"{PARSING}/sandbox.py",
    ),
    "How are reciprocal ranks and relevance made into one score?": f"{RETRIEVAL}/ranking.py",
    "Which sentence is quoted for a mark that cites a search result?": f"{RETRIEVAL}/citations.py",
    "How deep may attribute filters be nested?": f"{RETRIEVAL}/filters.py",
    "Which words are dropped when a question is rewritten as a query?": f"{RETRIEVAL}/rewriting.py",
    "When does a vector store expire, and what stays of it then?": (
        f"{RETRIEVAL}/vector_stores.py",
        "handlers/vector_stores.py",
    ),
    "The provider answered with 429, its rate limit was met": "inference/errors.py",
    "Trying a write again because the document was changed since it was read": "persistence/retry.py",
    "The counts of files in progress, completed and failed": f"{RETRIEVAL}/counts.py",
    "How is a text cut into overlapping chunks?": f"{PARSING}/chunking.py",
    "What clears up the remains of deleted objects later?": (
        f"{RETRIEVAL}/deadlines.py",
        f"{RETRIEVAL}/contents.py",
    ),
    "From bytes to searchable chunks: parse, cut, embed, store": f"{RETRIEVAL}/ingestion.py",
    "Can files of the purpose assistants be read back?": f"{RETRIEVAL}/files.py",
    "A cursor that is no member of the list": "handlers/pages.py",
}


def docstrings(path: Path) -> str:
    """What a module says of itself, and of its classes and functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))[:LONGEST]


DOCUMENTS = sorted(
    path
    for folder in ("handlers", "inference", PARSING, RETRIEVAL, "persistence")
    for path in (ROOT / folder).glob("*.py")
    if docstrings(path)
)


async def fill(library: Library) -> str:
    """A vector store with a file for each module, named by its path."""
    files = [(await library.file(docstrings(path), str(path.relative_to(ROOT))))["id"] for path in DOCUMENTS]
    store = await vector_stores.create_vector_store(library.context(), {})
    await vector_store_file_batches.create_vector_store_file_batch(
        library.context(), store["id"], {"file_ids": files}
    )
    assert (await library.settled(store["id"], 200))["file_counts"]["completed"] == len(files)
    return str(store["id"])


async def gain(library: Library, store: str, ranker: str = "auto") -> float:
    """nDCG@10 over all questions; of several documents that answer one, the first that is found counts."""
    gains = []
    for question, answer in QUESTIONS.items():
        found = await library.search(store, question, max_num_results=50, ranking_options={"ranker": ranker})
        names = list(dict.fromkeys(item["filename"] for item in found))
        gains.append(discounted(names, answer))
    return sum(gains) / len(gains)


def discounted(names: Sequence[str], answer: str | Answers) -> float:
    right = (answer,) if isinstance(answer, str) else answer
    return max(1 / math.log2(names.index(one) + 2) if one in names[:10] else 0.0 for one in right)


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Library]:
    models = LocalModels(ROOT / "build" / "cache")
    models.start()
    try:
        async with library_over(tmp_path, Gateway(Routes.local(), None, models)) as library:
            yield library
    finally:
        models.stop()


async def test_words_alone_find_most_answers(tmp_path: Path, provider: ProviderProcess) -> None:
    async with library_at(tmp_path, provider.url, embedding_model=None) as library:
        assert await gain(library, await fill(library)) > 0.7


@pytest.mark.slow
@pytest.mark.timeout(300)
@requires(not LocalModels.missing(), "the local models are not installed")
async def test_words_and_vectors_find_them_better(local: Library) -> None:
    store = await fill(local)
    hybrid, vectors = await gain(local, store), await gain(local, store, "none")
    print(f"nDCG@10: hybrid {hybrid:.3f}, vectors {vectors:.3f}")
    assert hybrid > 0.8
    assert hybrid >= vectors - 0.03, "one answer found a rank later is 0.02"
