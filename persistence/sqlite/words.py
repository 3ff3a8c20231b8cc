"""From text to the words that FTS5 indexes, and from a query to the phrases it may match.

FTS5 cuts where Unicode sees no letter, which leaves languages without spaces in one piece; their
characters are indexed one by one, and a query asks for each two that stand side by side.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

import apsw

from persistence.sqlite.database import fetch_one

UNSPACED = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Kana, Han and Hangul."""

DIACRITICS = ["remove_diacritics", "2"]

PHRASES = 64
"""Different words of a query that are looked for at most."""

POSTINGS = 10_000
"""Occurrences that a search weighs (about 1 µs each): a query's rarest words come first."""


def space_out(text: str) -> str:
    """The text as it is indexed."""
    return UNSPACED.sub(lambda run: f" {' '.join(run.group())} ", text)


def phrases(connection: apsw.Connection, query: str) -> list[str]:
    """The words of a query, each once, in FTS5's quotes so that nothing in them is an operator."""
    query = query.encode("utf-8", "replace").decode()
    found = dict.fromkeys(pairs(query)) | dict.fromkeys(words(connection, UNSPACED.sub(" ", query)))
    return list(found)[:PHRASES]


def words(connection: apsw.Connection, text: str) -> list[str]:
    """The text's words as FTS5 cuts them, not yet stemmed."""
    return tokens(connection.fts5_tokenizer("unicode61", DIACRITICS), text)


def stems(connection: apsw.Connection, text: str) -> list[str]:
    """The text's words as they stand in the index."""
    return tokens(connection.fts5_tokenizer("porter", ["unicode61", *DIACRITICS]), text)


def tokens(tokenizer: apsw.FTS5Tokenizer, text: str) -> list[str]:
    """What a tokenizer makes of a text."""
    reason = apsw.FTS5_TOKENIZE_QUERY
    found = tokenizer(text.encode(), reason, None, include_offsets=False, include_colocated=False)
    return [str(token) for token in found]


def pairs(text: str) -> Iterator[str]:
    """Each two neighbours in runs of unspaced characters; a character alone for itself."""
    for run in UNSPACED.findall(text):
        if len(run) == 1:
            yield run
        yield from (f"{first} {second}" for first, second in pairwise(run))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A word of a query, or two characters side by side; `chunks` have it at most."""

    text: str
    stems: tuple[str, ...]
    chunks: int


def frequency(connection: apsw.Connection, text: str) -> Phrase:
    """The phrase with the number of chunks that have its rarest word."""
    parts = tuple(stems(connection, text))
    rows = [fetch_one(connection, "SELECT doc FROM frequencies WHERE term=?", (stem,)) for stem in parts]
    return Phrase(text, parts, min((0 if row is None else int(row[0]) for row in rows), default=0))


def known_phrases(connection: apsw.Connection, query: str) -> list[Phrase]:
    """The query's phrases that are in some chunk, rarest first."""
    found = (frequency(connection, phrase) for phrase in phrases(connection, query))
    return sorted((phrase for phrase in found if phrase.chunks), key=lambda phrase: phrase.chunks)


def rarest_phrases(phrases: list[Phrase], postings: int) -> list[Phrase]:
    """As many of the rarest phrases as have that many occurrences together, but at least one."""
    totals = accumulate(phrase.chunks for phrase in phrases)
    count = sum(total <= postings for total in totals)
    return phrases[: max(1, count)]


def match_expression(phrases: list[Phrase]) -> str:
    """FTS5's expression for any of the phrases."""
    return " OR ".join(f'"{phrase.text}"' for phrase in phrases)
