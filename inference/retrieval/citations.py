"""The marks by which an answer cites search results, and the annotations that they become."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from persistence.types import JSON

MARK = re.compile("\u3010(\\d{1,4}):(\\d{1,4})\u2020([^\u3010\u3011\n]*)\u3011")
ANY_SOURCE = "source"
"""What models that know OpenAI's marks write instead of a file's name."""

MAX_NAME = 40
MAX_QUOTE = 400
SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
WORD = re.compile(r"\w{3,}")


def mark(call: int, number: int, filename: str) -> str:
    """Return the mark that cites a result: number of the call, number of the result, name of the file."""
    return f"\u3010{call}:{number}\u2020{display_name(filename)}\u3011"


def display_name(filename: str) -> str:
    """Return a file's name for a mark: shortened, without characters that would end the mark."""
    return re.sub("[\u3010\u3011\u2020\\s]+", " ", filename)[:MAX_NAME].strip()


def citation(mark: str, start: int, before: str, calls: Sequence[Mapping[str, Any]]) -> JSON | None:
    """Return the file_citation of a mark that names a result of `calls`, else None.

    `start` is the mark's offset in characters of the answer, `before` the text ahead of it. The file's
    name is compared too, because a model may copy a mark from an earlier answer.
    """
    match = MARK.fullmatch(mark)
    result = _result(calls, int(match[1]), int(match[2]), match[3]) if match else None
    if result is None:
        return None
    return {
        "type": "file_citation",
        "text": mark,
        "start_index": start,
        "end_index": start + len(mark),
        "file_citation": {
            "file_id": result["file_id"],
            "quote": quote(result["content"][0]["text"], before),
        },
    }


def _result(calls: Sequence[Mapping[str, Any]], call: int, number: int, name: str) -> JSON | None:
    if call >= len(calls) or number >= len(calls[call]["results"]):
        return None
    result: JSON = calls[call]["results"][number]
    return result if name.strip() in (ANY_SOURCE, display_name(result["file_name"])) else None


def quote(chunk: str, claim: str) -> str:
    """Return the sentence of a chunk that has most words in common with a claim."""
    words = _words(claim)
    best = max(_sentences(chunk), key=lambda each: len(words & each[1]), default=(chunk.strip(), words))
    return best[0][:MAX_QUOTE]


@lru_cache(maxsize=256)
def _sentences(chunk: str) -> list[tuple[str, frozenset[str]]]:
    """The sentences of a chunk with their words; an answer cites the same few chunks again and again."""
    sentences = (match[0].strip() for match in SENTENCE.finditer(chunk))
    return [(sentence, _words(sentence)) for sentence in sentences if sentence]


def _words(text: str) -> frozenset[str]:
    return frozenset(WORD.findall(text.lower()))
