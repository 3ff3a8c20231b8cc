"""An application whose `createResponse` does what its input says, for tests of what carries responses.

The input is a JSON object: `deltas` events of `text`, with `wait` seconds ahead of each; `fail` is the
message of an error instead, or, with `deltas`, behind them. The end of each response is logged.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import structlog

from handlers import registry
from handlers.context import Context, Stream
from handlers.errors import BadRequest
from inference.identifiers import new_id
from persistence.types import JSON

log = structlog.get_logger("tests.responses")


def event(kind: str, number: int, **more: Any) -> bytes:
    data = orjson.dumps({"type": kind, "sequence_number": number, **more})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


async def events(context: Context, body: JSON, script: JSON) -> AsyncIterator[bytes]:
    response_id, deltas = new_id("resp_"), script.get("deltas", 1)
    end = "interrupted"
    response = {"id": response_id, "model": body["model"], "metadata": body.get("metadata")}
    try:
        yield event("response.created", 0, response=response)
        for number in range(1, deltas + 1):
            await asyncio.sleep(script.get("wait", 0))
            yield event("response.output_text.delta", number, delta=script.get("text", "hi"))
        if script.get("fail"):
            raise RuntimeError(script["fail"])
        if context.connection is not None:
            await context.connection.put(response_id, [{"type": "message"}])
        yield event("response.completed", deltas + 1, response=response)
        end = "completed"
    finally:
        log.info("response_ended", response_id=response_id, end=end, tag=script.get("tag"))


async def create_response(context: Context, body: JSON) -> Stream:
    script = orjson.loads(body["input"])
    previous = body.get("previous_response_id")
    if previous and (context.connection is None or context.connection.get(previous) is None):
        message = f"Previous response with id '{previous}' not found."
        raise BadRequest(message, param="previous_response_id", code="previous_response_not_found")
    if "deltas" not in script and script.get("fail"):
        raise BadRequest(script["fail"], code="asked_for")
    return Stream(events(context, body, script))


registry.registered_handlers()
registry._registered.pop("create_response", None)
registry.operation("createResponse")(create_response)

from wsgi import app  # noqa: E402, F401 - made with the handler above
