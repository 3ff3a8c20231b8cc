"""Chat completions; those with `store: true` are kept."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from handlers.chat_files import with_files
from handlers.context import Context, Relayed, Stream
from handlers.credentials import chat_credentials, require_store
from handlers.registry import operation
from handlers.stored_completions import check_size, new_id, store_completion
from inference.gateway import ChunkAccumulator
from inference.gateway.answers import sse
from persistence.types import JSON


@operation("createChatCompletion", cancel_on_disconnect=True)
async def create_chat_completion(context: Context, body: JSON) -> Relayed | Stream:
    """Ask the model of that name; every field of the request goes to its provider."""
    gateway, credentials = context.services.gateway, await chat_credentials(context)
    filled = await with_files(context, body)
    if not body.get("store"):
        request = {name: value for name, value in filled.items() if name != "store"}
        if body.get("stream"):
            return Stream(gateway.relay(request, credentials, on_silence=context.open_stream))
        return Relayed(await gateway.complete(request, credentials))
    require_store(context, "'store'")
    await check_size(body)
    # The completion is stored here, so the provider gets neither of the two fields.
    request = {name: value for name, value in filled.items() if name not in ("store", "metadata")}
    if body.get("stream"):
        request["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        chunks = gateway.chunks(request, credentials, on_silence=context.open_stream)
        return Stream(_stored_stream(context, body, chunks))
    completion = {**await gateway.complete(request, credentials), "id": new_id()}
    await store_completion(context, body, completion)
    return Relayed(completion)


async def _stored_stream(
    context: Context, body: JSON, chunks: AsyncGenerator[JSON, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the stream under an id of the server's own, and store the completion before `[DONE]`."""
    id, accumulator = new_id(), ChunkAccumulator()
    wants_usage = (body.get("stream_options") or {}).get("include_usage")
    async with aclosing(chunks):
        async for chunk in chunks:
            chunk["id"] = id
            accumulator.add(chunk)
            if not wants_usage and chunk.pop("usage", None) is not None and not chunk.get("choices"):
                continue
            yield sse.frame(chunk)
    await store_completion(context, body, accumulator.completion())
    yield sse.DONE
