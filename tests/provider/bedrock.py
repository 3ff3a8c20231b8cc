"""Answers of AWS Bedrock's Converse API; streams are in AWS's binary event format."""

import json
from binascii import crc32
from collections.abc import Iterator
from struct import pack

from persistence.types import JSON
from tests.provider.answers import Answer
from tests.provider.anthropic import stop_reason

EVENT_STREAM = "application/vnd.amazon.eventstream"

STRING = 7
"""The type of a header whose value is text."""


def response(answer: Answer) -> JSON:
    """Return the answer of converse."""
    content = [block for block, _, _ in _blocks(answer)]
    message = {"role": "assistant", "content": content}
    return {
        "output": {"message": message},
        "stopReason": stop_reason(answer),
        "usage": _usage(answer),
        "metrics": {"latencyMs": 1},
    }


def events(answer: Answer) -> Iterator[bytes]:
    """Yield the events of converse-stream."""
    yield _event("messageStart", role="assistant")
    for index, (_, start, deltas) in enumerate(_blocks(answer)):
        if start:
            yield _event("contentBlockStart", contentBlockIndex=index, start=start)
        for delta in deltas:
            yield _event("contentBlockDelta", contentBlockIndex=index, delta=delta)
        yield _event("contentBlockStop", contentBlockIndex=index)
    yield _event("messageStop", stopReason=stop_reason(answer))
    yield _event("metadata", usage=_usage(answer), metrics={"latencyMs": 1})


def _blocks(answer: Answer) -> Iterator[tuple[JSON, JSON, list[JSON]]]:
    """Yield each block of the content, how it starts in a stream, and its deltas."""
    if answer.thinking is not None:
        text = {"text": answer.thinking, "signature": answer.signature}
        deltas: list[JSON] = [{"reasoningContent": {"text": piece}} for piece in answer.thinking_pieces()]
        deltas.append({"reasoningContent": {"signature": answer.signature}})
        yield {"reasoningContent": {"reasoningText": text}}, {}, deltas
    if answer.text is not None:
        yield {"text": answer.text}, {}, [{"text": piece} for piece in answer.pieces]
    for call in answer.calls:
        arguments = call["function"]["arguments"]
        tool = {"toolUseId": call["id"], "name": call["function"]["name"]}
        use = {"toolUse": {**tool, "input": json.loads(arguments)}}
        yield use, {"toolUse": tool}, [{"toolUse": {"input": arguments}}]


def _usage(answer: Answer) -> JSON:
    usage = answer.usage()
    return {
        "inputTokens": usage["prompt_tokens"],
        "outputTokens": usage["completion_tokens"],
        "totalTokens": usage["total_tokens"],
    }


def _event(name: str, **fields: object) -> bytes:
    """Return one event: lengths, a checksum of both, headers, payload, a checksum of all."""
    headers = b"".join(
        _header(*pair)
        for pair in (
            (":event-type", name),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    payload = json.dumps(fields).encode()
    lengths = pack("!II", len(headers) + len(payload) + 16, len(headers))
    message = lengths + pack("!I", crc32(lengths)) + headers + payload
    return message + pack("!I", crc32(message))


def _header(name: str, value: str) -> bytes:
    return pack("!B", len(name)) + name.encode() + pack("!BH", STRING, len(value)) + value.encode()
