"""Output items while they grow: their places, and their parts as the Responses API has them."""

from dataclasses import dataclass, field

from inference.code.arguments import CodeReader
from inference.engine.items import Message
from inference.engine.state import RunState
from inference.gateway.answers.tolerant_json import LEAST_LOGPROB
from inference.responses import objects
from inference.retrieval.file_search import asked_queries
from persistence.types import JSON


@dataclass(slots=True)
class OpenItem:
    """An output item that is not finished: its place and its parts so far."""

    index: int
    id: str
    type: str
    is_plain: bool = False
    """Whether it is a message: most frames are its deltas, which are written from a template."""
    has_part: bool = False
    refuses: bool = False
    annotations: list[JSON] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    code: CodeReader = field(default_factory=CodeReader)
    """Reads the code of a call of code_interpreter."""


def content_of(item: Message, opened: OpenItem) -> list[JSON]:
    """Return the content of a message."""
    parts: list[JSON] = []
    if item.text or not item.refusal:
        text = cut(str(item.text), opened.spans)
        logprobs = [logprob_of(each) for each in item.logprobs]
        parts.append(objects.part_of_text(text, opened.annotations, logprobs))
    if item.refusal:
        parts.append({"type": "refusal", "refusal": str(item.refusal)})
    return parts


def cut(text: str, spans: list[tuple[int, int]]) -> str:
    """Return the text without these spans of characters, which are in order."""
    if not spans:
        return text
    starts = [0, *(last for _, last in spans)]
    ends = [*(first for first, _ in spans), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def is_cut(mark: JSON) -> bool:
    """Return whether an annotation's text is a mark that clients do not see."""
    return bool(mark["type"] == "file_citation")


def annotation_of(mark: JSON, opened: OpenItem, state: RunState) -> JSON:
    """Return the annotation of a mark; its offsets count the characters before it, without cut marks."""
    before = sum(last - first for first, last in opened.spans if first < mark["start_index"])
    if is_cut(mark):
        file_id = mark["file_citation"]["file_id"]
        filename = _filename(file_id, state)
        index = mark["start_index"] - before
        return {"type": "file_citation", "index": index, "file_id": file_id, "filename": filename}
    type: str = mark["type"]
    offsets = {"start_index": mark["start_index"] - before, "end_index": mark["end_index"] - before}
    return {"type": type, **mark[type], **offsets}


def _filename(file_id: str, state: RunState) -> str:
    results = (
        result for turn in state.turns for call in turn.calls for result in call.details.get("results") or ()
    )
    return next((str(each["file_name"]) for each in results if each["file_id"] == file_id), "")


def logprob_of(logprob: JSON) -> JSON:
    """Return a token's logprob with all its members."""
    top = [_logprob_members(each) for each in logprob.get("top_logprobs") or ()]
    return {**_logprob_members(logprob), "top_logprobs": top}


def _logprob_members(token: JSON) -> JSON:
    text = token["token"]
    octets = token.get("bytes")
    return {
        "token": text,
        "logprob": LEAST_LOGPROB if token.get("logprob") is None else token["logprob"],
        "bytes": list(text.encode()) if octets is None else octets,
    }


def queries_of(arguments: str) -> list[str]:
    """Return the queries of a call of file_search; none where the search cannot read them."""
    try:
        return asked_queries(arguments)
    except ValueError:
        return []
