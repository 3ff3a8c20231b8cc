"""Answers of Cohere's Chat API, version 2, and its embeddings."""

import json
from collections.abc import Iterator

from persistence.types import JSON
from tests.provider.answers import Answer, bag_of_words, event

FINISH_REASONS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}


def response(answer: Answer) -> JSON:
    """Return the answer of v2/chat; the text ahead of calls is their plan."""
    message: JSON = {"role": "assistant"}
    if answer.thinking is not None:
        message["content"] = [{"type": "thinking", "thinking": answer.thinking}]
    if answer.calls:
        message |= {"tool_plan": answer.text or "", "tool_calls": answer.calls}
    else:
        message["content"] = [*message.get("content", ()), {"type": "text", "text": answer.text}]
    return {"id": answer.id, "message": message, **_end(answer)}


def events(answer: Answer) -> Iterator[bytes]:
    """Yield the events of a streamed v2/chat."""
    yield _event("message-start", {"message": {"role": "assistant", "content": [], "tool_calls": []}})
    if answer.thinking is not None:
        yield from _content(0, "thinking", answer.thinking_pieces())
    if answer.calls:
        for piece in answer.pieces:
            yield _event("tool-plan-delta", {"message": {"tool_plan": piece}})
    else:
        yield from _content(int(answer.thinking is not None), "text", answer.pieces)
    for index, call in enumerate(answer.calls):
        function = call["function"]
        opening = {**call, "function": {"name": function["name"], "arguments": ""}}
        yield _event("tool-call-start", {"message": {"tool_calls": opening}}, index)
        for start in range(0, len(function["arguments"]), 4):
            grown = {"function": {"arguments": function["arguments"][start : start + 4]}}
            yield _event("tool-call-delta", {"message": {"tool_calls": grown}}, index)
        yield _event("tool-call-end", None, index)
    yield _event("message-end", _end(answer))


def embeddings(answer: Answer) -> JSON:
    """Return the answer of embed."""
    texts = answer.body["texts"]
    vectors = [bag_of_words(text.split(), 64).tolist() for text in texts]
    units = {"billed_units": {"input_tokens": sum(len(text.split()) for text in texts)}}
    return {"id": "e", "texts": texts, "embeddings": {"float": vectors}, "meta": units}


def _content(index: int, kind: str, pieces: list[str]) -> Iterator[bytes]:
    yield _event("content-start", {"message": {"content": {"type": kind, kind: ""}}}, index)
    for piece in pieces:
        yield _event("content-delta", {"message": {"content": {kind: piece}}}, index)
    yield _event("content-end", None, index)


def _end(answer: Answer) -> JSON:
    usage = answer.usage()
    tokens = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    reason = FINISH_REASONS.get(answer.finish_reason, answer.finish_reason)
    return {"finish_reason": reason, "usage": {"billed_units": tokens, "tokens": tokens}}


def _event(kind: str, delta: JSON | None, index: int | None = None) -> bytes:
    value: JSON = {"type": kind, **({} if index is None else {"index": index})}
    return f"event: {kind}\n".encode() + event({**value, **({} if delta is None else {"delta": delta})})


def error(message: str) -> bytes:
    """Return the body of an error."""
    return json.dumps({"id": "e", "message": message}).encode()
