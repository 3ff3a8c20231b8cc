"""Send a request to the provider of its model, and return the response as the provider sent it."""

from handlers.context import Context
from handlers.credentials import chat_credentials
from inference.gateway import failures
from inference.gateway.driver import ProviderRequest
from inference.gateway.http.forms import Form
from inference.gateway.relay import RelayedResponse, relayed
from inference.gateway.routing.parameters import with_parameters
from inference.gateway.routing.targets import Target
from persistence.types import JSON


async def relay(
    context: Context,
    path: str,
    body: JSON,
    form: Form | None = None,
    *,
    default_model: str | None = None,
    is_json: bool = False,
) -> RelayedResponse:
    """Return the provider's response to a POST of `form`, or else of `body`, with the route's model.

    `is_json` operations answer with JSON or with events only.
    """
    model = body.get("model") or default_model

    async def call(target: Target) -> RelayedResponse:
        request = ProviderRequest("POST", path, body_for(target, body, form))
        return await relay_to(context, target, request, is_json=is_json)

    return await context.services.gateway.first_answer(str(model), call, await chat_credentials(context))


async def relay_to(
    context: Context, target: Target, request: ProviderRequest, *, is_json: bool = True
) -> RelayedResponse:
    """Return the response of one deployment, which is asked once."""
    return await relayed(target, await context.services.gateway.send(target, request), is_json=is_json)


async def openai_target(context: Context, model: str | None, operation: str) -> Target:
    """Return the deployment of a model, or else the first one, that speaks OpenAI's wire.

    `operation` is its method and path, for the error where there is none.
    """
    gateway, credentials = context.services.gateway, await chat_credentials(context)
    names = [model] if model is not None else [name.replace("*", "-") for name in gateway.routes.routes]
    targets = [target for name in names for target in gateway.targets(name, credentials)]
    found = next((target for target in targets if target.wire in ("openai", "responses")), None)
    if found is None:
        raise failures.not_offered(targets[0], operation)
    return found


def body_for(target: Target, body: JSON, form: Form | None) -> JSON | Form:
    """Return what is sent: the form, else the body with the route's parameters, and the route's model."""
    if form is not None:
        return form.with_text("model", target.model)
    return {**with_parameters(body, target), "model": target.model}
