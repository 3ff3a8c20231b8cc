"""Legacy text completions, from providers that offer them."""

from handlers.context import Context, Relayed, Stream
from handlers.credentials import chat_credentials
from handlers.registry import operation
from persistence.types import JSON

PATH = "/completions"


@operation("createCompletion", cancel_on_disconnect=True)
async def create_completion(context: Context, body: JSON) -> Relayed | Stream:
    """Continue a prompt."""
    gateway, credentials = context.services.gateway, await chat_credentials(context)
    if body.get("stream"):
        return Stream(gateway.relay(body, credentials, PATH, context.open_stream))
    return Relayed(await gateway.forward(PATH, body, credentials))
