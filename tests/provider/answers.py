"""What the provider answers, as objects of OpenAI's API."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from persistence.types import JSON
from tests.provider.script import Turn, text_of

CREATED = 1_700_000_000
MOST_DIMENSIONS = 3072


class Answer:
    """A turn worked out for one request: its text, calls, usage and how it ends."""

    def __init__(self, body: JSON, turn: Turn) -> None:
        self.body, self.turn = body, turn
        self.calls = turn.calls(body)
        text = None if self.calls and "text" not in turn.step else turn.text(body)
        self.pieces = [] if text is None else turn.pieces(text)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        self.finish_reason = "tool_calls" if self.calls else "stop"
        if limit is not None and len(self.pieces) > limit:
            self.pieces, self.finish_reason = self.pieces[:limit], "length"
        self.finish_reason = turn.step.get("finish_reason", self.finish_reason)
        self.text = None if text is None else "".join(self.pieces)
        self.thinking: str | None = turn.step.get("thinking")
        self.images: list[str] = turn.step.get("images", [])

    @property
    def signature(self) -> str:
        """The provider's signature under its thinking, in base64 as Gemini's must be."""
        return base64.b64encode(f"signed {self.thinking}".encode()).decode()

    def thinking_pieces(self) -> list[str]:
        """The thinking as it is streamed."""
        return self.turn.pieces(self.thinking or "")

    @property
    def id(self) -> str:
        return f"chatcmpl-{self.turn.tag or 'fake'}-{self.turn.number}"

    def usage(self) -> JSON:
        prompt = sum(len(text_of(message).split()) for message in self.body.get("messages", ()))
        completion = len(self.pieces) + len(self.calls)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }
        return {**usage, **self.turn.step.get("usage", {})}

    def completion(self) -> JSON:
        """The answer of /v1/chat/completions; as bare as some providers send it."""
        message: JSON = {"role": "assistant", "content": self.text}
        if self.calls:
            message["tool_calls"] = self.calls
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage()}

    def deltas(self) -> Iterator[JSON]:
        """The pieces of the stream between its role and its end: of text, then of calls."""
        reasoning = self.turn.step.get("reasoning")
        for piece in self.turn.pieces(reasoning) if reasoning else ():
            yield {"reasoning_content": piece}
        for piece in self.pieces:
            yield {"content": piece}
        for index, call in enumerate(self.calls):
            function = call["function"]
            opening = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
            yield {"tool_calls": [opening]}
            arguments = function["arguments"]
            for start in range(0, len(arguments), 12):
                yield {
                    "tool_calls": [{"index": index, "function": {"arguments": arguments[start : start + 12]}}]
                }

    def chunk(self, delta: JSON | None, finish_reason: str | None = None) -> bytes:
        """One event; without a delta the one that tells the usage."""
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
        value = {**self._head("chat.completion.chunk"), "choices": choices if delta is not None else []}
        if (self.body.get("stream_options") or {}).get("include_usage"):
            value["usage"] = self.usage() if delta is None else None
        return event(value)

    def wants_usage(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    def _head(self, object_: str) -> JSON:
        return {
            "id": self.id,
            "object": object_,
            "created": CREATED,
            "model": self.body.get("model", ""),
            "system_fingerprint": "fp_fake",
        }


def event(value: JSON) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def embeddings(body: JSON) -> JSON:
    """The answer of /v1/embeddings."""
    given = body["input"]
    texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    words = [text.split() if isinstance(text, str) else [str(token) for token in text] for text in texts]
    dimensions = body.get("dimensions") or 64
    data = []
    for index, bag in enumerate(words):
        vector = bag_of_words(bag, dimensions)
        as_text = body.get("encoding_format") == "base64"
        embedding = base64.b64encode(vector.tobytes()).decode() if as_text else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    tokens = sum(map(len, words))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.get("model", ""), "usage": usage}


def bag_of_words(words: list[str], dimensions: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A vector of unit length; the same words give the same, in any order and case."""
    vector = np.zeros(dimensions, np.float32)
    for word in words:
        plain = re.sub(r"\W", "", word.lower())
        digest = hashlib.blake2b(plain.encode(), digest_size=8).digest()
        vector[int.from_bytes(digest[:4], "big") % dimensions] += 1 if digest[4] & 1 else -1
    length = float(np.linalg.norm(vector))
    return vector / length if length else np.eye(1, dimensions, dtype=np.float32)[0]


MODELS = ["fake-model", "fake-embedding", "gpt-4o", "gpt-4o-mini", "text-embedding-3-small"]


def models(made: list[str]) -> JSON:
    """The answer of /v1/models: with what fine-tuning jobs have made."""
    names = [*MODELS, *made]
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "fake"} for name in names]
    return {"object": "list", "data": data}


def moderation(body: JSON) -> JSON:
    """The answer of /v1/moderations: a result for each text, one for the parts of a message."""
    given = body.get("input")
    is_list = isinstance(given, list) and given and isinstance(given[0], str)
    results = [_moderated(text) for text in (given if is_list else [given])]
    return {"id": "modr-fake", "model": body.get("model", "omni-moderation-latest"), "results": results}


def _moderated(given: Any) -> JSON:
    flagged = "violence" in str(given)
    names = ["harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent",
             "self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence",
             "violence/graphic"]  # fmt: skip
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == "violence" for name in names},
        "category_scores": {name: 0.9 if flagged and name == "violence" else 0.01 for name in names},
        "category_applied_input_types": {name: ["text"] for name in names},
    }


def text_completion(answer: Answer) -> JSON:
    """The answer of /v1/completions."""
    choice = {"index": 0, "text": answer.text or "", "logprobs": None, "finish_reason": answer.finish_reason}
    head = {"id": "cmpl-fake", "object": "text_completion", "created": CREATED}
    return {**head, "model": answer.body.get("model", ""), "choices": [choice], "usage": answer.usage()}


def text_completion_events(answer: Answer) -> Iterator[bytes]:
    """The events of a streamed /v1/completions."""
    whole = text_completion(answer)
    usage = whole.pop("usage")
    shown = {"usage": None} if answer.wants_usage() else {}
    (choice,) = whole["choices"]
    for piece in answer.pieces:
        yield event({**whole, **shown, "choices": [{**choice, "text": piece, "finish_reason": None}]})
    yield event({**whole, **shown, "choices": [{**choice, "text": ""}]})
    if shown:
        yield event({**whole, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


@lru_cache
def bench_completion() -> bytes:
    answer = Answer({"model": "bench", "messages": []}, Turn(step={"text": "word " * 20}))
    return json.dumps(answer.completion()).encode()


@lru_cache
def bench_stream(chunks: int) -> list[bytes]:
    """The events of a stream of that many chunks of text."""
    answer = Answer(
        {"model": "bench", "messages": []}, Turn(step={"text": "word " * chunks, "chunks": chunks})
    )
    opening = answer.chunk({"role": "assistant", "content": ""})
    pieces = [answer.chunk(delta) for delta in answer.deltas()]
    return [opening, *pieces, answer.chunk({}, "stop"), b"data: [DONE]\n\n"]
