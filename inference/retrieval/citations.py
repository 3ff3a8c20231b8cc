"""The marks by which an answer cites search results, and the annotations that they become."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

JSON = dict[str, Any]

MARK = re.compile("\u3010(\\d{1,4}):(\\d{1,4})\u2020([^\u3010\u3011\n]*)\u3011")
ANY_SOURCE = "source"
"""What models that know OpenAI's marks write in place of a file's name."""

MAX_NAME = 40
MAX_QUOTE = 400
REACH = 300
"""Characters ahead of a mark that its quote is chosen by."""

SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
WORD = re.compile(r"\w{3,}")


def mark(call: int, number: int, filename: str) -> str:
    """What an answer has to hold to cite a result: of which call it is, its number, the file's name."""
    return f"\u3010{call}:{number}\u2020{shown_name(filename)}\u3011"


def shown_name(filename: str) -> str:
    """The file's name as it stands in a mark: without what would end the mark, and not too long."""
    return re.sub("[\u3010\u3011\u2020\\s]+", " ", filename)[:MAX_NAME].strip()


def annotations(text: str, calls: Sequence[Mapping[str, Any]]) -> list[JSON]:
    """The file_citation of every mark in `text` that names a result of `calls`, in order.

    Offsets count characters of the text. A mark that names no result stays in the text as it is,
    without an annotation: so does one that was copied from an earlier answer, as its name tells.
    """
    found = []
    end = 0
    for match in MARK.finditer(text):
        result = _result(calls, int(match[1]), int(match[2]), match[3])
        if result is not None:
            claim = text[max(end, match.start() - REACH) : match.start()]
            found.append(_annotation(match, result, claim))
        end = match.end()
    return found


def _result(calls: Sequence[Mapping[str, Any]], call: int, number: int, name: str) -> JSON | None:
    if call >= len(calls) or number >= len(calls[call]["results"]):
        return None
    result: JSON = calls[call]["results"][number]
    return result if name.strip() in (ANY_SOURCE, shown_name(result["file_name"])) else None


def _annotation(match: re.Match[str], result: JSON, claim: str) -> JSON:
    return {
        "type": "file_citation",
        "text": match[0],
        "start_index": match.start(),
        "end_index": match.end(),
        "file_citation": {
            "file_id": result["file_id"],
            "quote": quote(result["content"][0]["text"], claim),
        },
    }


def quote(chunk: str, claim: str) -> str:
    """The sentence of a chunk that has most words in common with what an answer says of it."""
    words = set(WORD.findall(claim.lower()))
    sentences = [match[0].strip() for match in SENTENCE.finditer(chunk)]
    best = max(
        (sentence for sentence in sentences if sentence),
        key=lambda sentence: len(words & set(WORD.findall(sentence.lower()))),
        default=chunk.strip(),
    )
    return best[:MAX_QUOTE]
