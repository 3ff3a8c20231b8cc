"""Embeddings, from the provider of the model."""

from handlers.context import Context, Relayed
from handlers.credentials import embedding_credentials
from handlers.errors import BadRequest
from handlers.registry import operation
from persistence.types import JSON


@operation("createEmbedding", cancel_on_disconnect=True)
async def create_embedding(context: Context, body: JSON) -> Relayed:
    """Return a vector for each input: a text, a list of texts, a text's tokens or a list of those."""
    _check(body["input"])
    return Relayed(await context.services.gateway.embed(body, await embedding_credentials(context)))


def _check(given: object) -> None:
    """Refuse empty inputs before a provider is asked."""
    inputs = given if isinstance(given, list) else [given]
    if not inputs:
        raise BadRequest("'$.input' is invalid: an empty list.", param="input", code="invalid_value")
    for index, item in enumerate(inputs):
        if item in ("", []):
            param = f"input[{index}]" if isinstance(given, list) else "input"
            raise BadRequest(f"'{param}' cannot be an empty string.", param=param, code="invalid_value")
