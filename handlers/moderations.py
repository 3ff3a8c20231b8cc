"""Moderations, relayed to the provider of the moderation model."""

from handlers.context import JSON, Context, Relayed, cancelled_with_client
from handlers.credentials import chat_credentials

DEFAULT_MODEL = "omni-moderation-latest"


@cancelled_with_client
async def create_moderation(context: Context, body: JSON) -> Relayed:
    """Classify texts and images; 404 where no provider serves a moderation model."""
    request = {**body, "model": body.get("model") or DEFAULT_MODEL}
    answer = await context.services.gateway.forward(
        "/moderations", request, chat_credentials(context.headers)
    )
    return Relayed(answer)
