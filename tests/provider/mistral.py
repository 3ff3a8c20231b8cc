"""Answers of Mistral's chat completions, where they differ from OpenAI's."""

import json
from collections.abc import Iterator

from persistence.types import JSON
from tests.provider.answers import Answer, event


def response(answer: Answer) -> JSON:
    """Return a chat completion whose thinking is a part of its content."""
    completion = answer.completion()
    message = completion["choices"][0]["message"]
    message["content"] = _content(answer, answer.text or "")
    return completion


def events(answer: Answer) -> Iterator[bytes]:
    """Yield the chunks, whose usage is in the last one; calls come whole."""
    yield answer.chunk({"role": "assistant", "content": ""})
    for piece in answer.thinking_pieces() if answer.thinking is not None else ():
        yield answer.chunk({"content": [_thought(piece)]})
    for piece in answer.pieces:
        yield answer.chunk({"content": piece})
    if answer.calls:
        calls = [{**call, "index": index} for index, call in enumerate(answer.calls)]
        yield answer.chunk({"content": "", "tool_calls": calls})
    last = json.loads(answer.chunk({"content": ""}, answer.finish_reason).removeprefix(b"data: "))
    yield event({**last, "usage": answer.usage()})
    yield b"data: [DONE]\n\n"


def _content(answer: Answer, text: str) -> str | list[JSON]:
    if answer.thinking is None:
        return text
    return [_thought(answer.thinking), {"type": "text", "text": text}]


def _thought(text: str) -> JSON:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
