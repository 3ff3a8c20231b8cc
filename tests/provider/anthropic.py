"""Answers of Anthropic's Messages API."""

import json
from collections.abc import Iterator

from persistence.types import JSON
from tests.provider.answers import Answer, event

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def message(answer: Answer) -> JSON:
    """Return a message."""
    content = [block for block, _ in _blocks(answer)]
    return {**_head(answer), "content": content, "stop_reason": stop_reason(answer)}


def events(answer: Answer) -> Iterator[bytes]:
    """Yield the events of a streamed message."""
    yield _event("message_start", message={**_head(answer), "content": [], "stop_reason": None})
    for index, (block, deltas) in enumerate(_blocks(answer)):
        yield _event("content_block_start", index=index, content_block=_emptied(block))
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    delta = {"stop_reason": stop_reason(answer), "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage={"output_tokens": len(answer.pieces)})
    yield _event("message_stop")


def stop_reason(answer: Answer) -> str:
    """Return the reason in the words that Bedrock shares."""
    return STOP_REASONS.get(answer.finish_reason, answer.finish_reason)


def _blocks(answer: Answer) -> Iterator[tuple[JSON, list[JSON]]]:
    """Yield each block of the content with the deltas that it is streamed in."""
    if answer.thinking is not None:
        thinking = {"type": "thinking", "thinking": answer.thinking, "signature": answer.signature}
        deltas: list[JSON] = [
            {"type": "thinking_delta", "thinking": piece} for piece in answer.thinking_pieces()
        ]
        yield thinking, [*deltas, {"type": "signature_delta", "signature": answer.signature}]
    if answer.text is not None:
        deltas = [{"type": "text_delta", "text": piece} for piece in answer.pieces]
        yield {"type": "text", "text": answer.text}, deltas
    for call in answer.calls:
        arguments = call["function"]["arguments"]
        block = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}
        delta = {"type": "input_json_delta", "partial_json": arguments}
        yield {**block, "input": json.loads(arguments)}, [delta]


def _emptied(block: JSON) -> JSON:
    empty = {"thinking": "", "signature": "", "text": "", "input": {}}
    return {name: empty.get(name, value) if name != "type" else value for name, value in block.items()}


def _head(answer: Answer) -> JSON:
    usage = answer.usage()
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": answer.body.get("model", ""),
        "stop_sequence": None,
        "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
    }


def _event(name: str, **fields: object) -> bytes:
    return f"event: {name}\n".encode() + event({"type": name, **fields})
