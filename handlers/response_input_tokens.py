"""Count the tokens that a response would read."""

from handlers.context import Context
from handlers.registry import operation
from handlers.response_requests import checked_request
from inference.responses.input_tokens import count_request, file_reader
from persistence.types import JSON


@operation("Getinputtokencounts", cancel_on_disconnect=True)
@operation("beta_Getinputtokencounts", cancel_on_disconnect=True)
async def get_input_token_counts(context: Context, body: JSON | None = None) -> JSON:
    """Return the input tokens, as the provider counts them, or else by tiktoken; `counted_by` says which."""
    services, body = context.services, body or {}
    reads_store = body.get("previous_response_id") is not None or body.get("conversation") is not None
    body = {**body, "model": body.get("model") or "", "store": reads_store}
    request = await checked_request(context, body, needs_model=bool(body["model"]))
    sent = await services.responses.first_request(request)
    credentials = None if request.caller is None else request.caller.for_chat
    count = await services.gateway.count_input(sent, credentials) if body["model"] else None
    counted_by = "provider"
    if count is None:
        counted_by = "tiktoken"
        count = await count_request(sent, file_reader(services.retrieval.sandbox, context.project))
    return {"object": "response.input_tokens", "input_tokens": count, "counted_by": counted_by}
