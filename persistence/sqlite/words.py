"""From text to the words that FTS5 indexes, and from a query to the phrases it may match.

FTS5 cuts where Unicode sees no letter, which leaves languages without spaces in one piece; their
characters are indexed one by one, and a query asks for each two that stand side by side.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import apsw

from astrolabe_server.persistence.sqlite.database import one

UNSPACED = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Kana, Han and Hangul."""

PHRASES = 64
"""Different words of a query that are looked for at most."""

POSTINGS = 20_000
"""Occurrences that a search weighs (about 1 µs each): a query's rarest words come first."""


def spaced(text: str) -> str:
    """The text as it is indexed."""
    return UNSPACED.sub(lambda run: f" {' '.join(run.group())} ", text)


def phrases(connection: apsw.Connection, query: str) -> list[str]:
    """The words of a query, each once, in FTS5's quotes so that nothing in them is an operator."""
    query = query.encode("utf-8", "replace").decode()
    found = dict.fromkeys(pairs(query)) | dict.fromkeys(words(connection, UNSPACED.sub(" ", query)))
    return list(found)[:PHRASES]


def words(connection: apsw.Connection, text: str) -> list[str]:
    """The text's words as FTS5 cuts them, not yet stemmed."""
    tokenizer = connection.fts5_tokenizer("unicode61", ["remove_diacritics", "2"])
    tokens = tokenizer(
        text.encode(), apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False, include_colocated=False
    )
    return [str(token) for token in tokens]


def pairs(text: str) -> Iterator[str]:
    """Each two neighbours in runs of unspaced characters; a character alone for itself."""
    for run in UNSPACED.findall(text):
        if len(run) == 1:
            yield run
        yield from (f"{first} {second}" for first, second in pairwise(run))


def frequency(connection: apsw.Connection, phrase: str) -> int:
    """In how many chunks the phrase can be, at most: as many as have its rarest word."""
    tokenizer = connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])
    stems = tokenizer(
        phrase.encode(), apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False, include_colocated=False
    )
    rows = [one(connection, "SELECT doc FROM frequencies WHERE term=?", (stem,)) for stem in stems]
    return min((0 if row is None else int(row[0]) for row in rows), default=0)


def rarest(connection: apsw.Connection, query: str) -> tuple[list[str], list[str]]:
    """The query's phrases that are in some chunk: those that fit POSTINGS, rarest first, and the others.

    The words left out are the commonest, which tell chunks apart least; at least one phrase is in.
    """
    counted = sorted((frequency(connection, phrase), phrase) for phrase in phrases(connection, query))
    fitting: list[str] = []
    others: list[str] = []
    total = 0
    for count, phrase in counted:
        total += count
        if count:
            (others if fitting and total > POSTINGS else fitting).append(phrase)
    return fitting, others


def match(phrases: list[str]) -> str:
    """FTS5's expression for any of the phrases."""
    return " OR ".join(f'"{phrase}"' for phrase in phrases)
