"""Answers of Google's Gemini API."""

import json
from collections.abc import Iterator

from persistence.types import JSON
from tests.provider.answers import Answer, event

FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}


def response(answer: Answer) -> JSON:
    """Return the answer of generateContent."""
    return _response(answer, list(_parts(answer)), finished=True)


def events(answer: Answer) -> Iterator[bytes]:
    """Yield the events of streamGenerateContent, one for each part."""
    for part in _parts(answer):
        yield event(_response(answer, [part], finished=False))
    yield event(_response(answer, [{"text": ""}], finished=True))


def _parts(answer: Answer) -> Iterator[JSON]:
    """Yield the parts of the content; the signature is on the first call, or else on the text."""
    signature = {"thoughtSignature": answer.signature} if answer.thinking is not None else {}
    if answer.thinking is not None:
        yield {"text": answer.thinking, "thought": True}
    if answer.text is not None:
        yield {"text": answer.text, **({} if answer.calls else signature)}
    for image in answer.images:
        yield {"inlineData": {"mimeType": "image/png", "data": image}}
    for place, call in enumerate(answer.calls):
        function = call["function"]
        part = {"functionCall": {"name": function["name"], "args": json.loads(function["arguments"])}}
        yield {**part, **(signature if place == 0 else {})}


def _response(answer: Answer, parts: list[JSON], *, finished: bool) -> JSON:
    candidate: JSON = {"index": 0, "content": {"role": "model", "parts": parts}}
    if finished:
        candidate["finishReason"] = FINISH_REASONS.get(answer.finish_reason, answer.finish_reason)
    usage = answer.usage()
    return {
        "candidates": [candidate],
        "modelVersion": "gemini-fake",
        "responseId": answer.id,
        "usageMetadata": {
            "promptTokenCount": usage["prompt_tokens"],
            "candidatesTokenCount": usage["completion_tokens"],
            "totalTokenCount": usage["total_tokens"],
        },
    }
