"""From text to the words that FTS5 indexes, and from a query to the phrases that it matches.

FTS5 splits words where Unicode sees no letter, so languages without spaces are indexed by character, and a
query asks for each pair of neighbours.
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
"""Occurrences that a search scores (about 1 µs each): a query's rarest words come first."""


def space_out(text: str) -> str:
    """Return the text as it is indexed."""
    return UNSPACED.sub(lambda run: f" {' '.join(run.group())} ", text)


def query_terms(connection: apsw.Connection, query: str) -> list[str]:
    """Return the distinct terms of a query: words, and pairs of unspaced characters; at most `PHRASES`."""
    query = query.encode("utf-8", "replace").decode()
    found = dict.fromkeys(pairs(query)) | dict.fromkeys(words(connection, UNSPACED.sub(" ", query)))
    return list(found)[:PHRASES]


def words(connection: apsw.Connection, text: str) -> list[str]:
    """Return the text's words as FTS5 splits them, not stemmed."""
    return tokens(connection.fts5_tokenizer("unicode61", DIACRITICS), text)


def stems(connection: apsw.Connection, text: str) -> list[str]:
    """Return the text's words as the index has them."""
    return tokens(connection.fts5_tokenizer("porter", ["unicode61", *DIACRITICS]), text)


def tokens(tokenizer: apsw.FTS5Tokenizer, text: str) -> list[str]:
    """Return a tokenizer's tokens of a text."""
    reason = apsw.FTS5_TOKENIZE_QUERY
    found = tokenizer(text.encode(), reason, None, include_offsets=False, include_colocated=False)
    return [str(token) for token in found]


def pairs(text: str) -> Iterator[str]:
    """Yield each pair of neighbours in runs of unspaced characters; a single character alone."""
    for run in UNSPACED.findall(text):
        if len(run) == 1:
            yield run
        yield from (f"{first} {second}" for first, second in pairwise(run))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A term of a query: a word, or two adjacent characters. At most `chunks` chunks contain it."""

    text: str
    stems: tuple[str, ...]
    chunks: int


def frequency(connection: apsw.Connection, text: str) -> Phrase:
    """Return the phrase with the number of chunks that contain its rarest word."""
    parts = tuple(stems(connection, text))
    rows = [fetch_one(connection, "SELECT doc FROM frequencies WHERE term=?", (stem,)) for stem in parts]
    return Phrase(text, parts, min((0 if row is None else int(row[0]) for row in rows), default=0))


def known_phrases(connection: apsw.Connection, query: str) -> list[Phrase]:
    """Return the query's phrases that some chunk contains, rarest first."""
    found = (frequency(connection, phrase) for phrase in query_terms(connection, query))
    return sorted((phrase for phrase in found if phrase.chunks), key=lambda phrase: phrase.chunks)


def rarest_phrases(phrases: list[Phrase], postings: int) -> list[Phrase]:
    """Return the rarest phrases within a number of occurrences, at least one."""
    totals = accumulate(phrase.chunks for phrase in phrases)
    count = sum(total <= postings for total in totals)
    return phrases[: max(1, count)]


def match_expression(phrases: list[Phrase]) -> str:
    """Return FTS5's expression for any of the phrases, quoted so that none is an operator."""
    return " OR ".join(f'"{phrase.text}"' for phrase in phrases)
