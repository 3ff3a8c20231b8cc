"""Moderations, from the provider of the moderation model."""

from handlers.context import Context, Relayed
from handlers.credentials import chat_credentials
from handlers.registry import operation
from persistence.types import JSON

DEFAULT_MODEL = "omni-moderation-latest"


@operation("createModeration", cancel_on_disconnect=True)
async def create_moderation(context: Context, body: JSON) -> Relayed:
    """Classify texts and images; 404 if no provider has the moderation model."""
    request = {**body, "model": body.get("model") or DEFAULT_MODEL}
    answer = await context.services.gateway.moderate(request, await chat_credentials(context))
    return Relayed(answer)
