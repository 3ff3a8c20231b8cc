"""Legacy text completions, relayed to providers that still have them."""

from handlers.context import Context, Relayed, Stream
from handlers.credentials import chat_credentials
from handlers.registry import operation
from persistence.types import JSON

PATH = "/completions"


@operation("createCompletion", waits_for_provider=True)
async def create_completion(context: Context, body: JSON) -> Relayed | Stream:
    """Continue a prompt; the provider's own error where it has chat models only."""
    gateway, credentials = context.services.gateway, chat_credentials(context.headers)
    if body.get("stream"):
        return Stream(gateway.relay(body, credentials, PATH))
    answer = await gateway.forward(PATH, body, credentials)
    for choice in answer.get("choices") or ():
        choice.setdefault("logprobs", None)
    return Relayed(answer)
