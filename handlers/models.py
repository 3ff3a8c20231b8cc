"""Models: list, retrieve, delete."""

from handlers import provider_objects
from handlers.codex import codex_model
from handlers.context import Context, Relayed
from handlers.credentials import chat_credentials
from handlers.errors import Forbidden, NotFound
from handlers.fine_tuning import MODEL
from handlers.ownership import own_models
from handlers.registry import operation
from inference.errors import ModelNotFound
from inference.gateway.relay import RelayedResponse
from persistence.collections import FINE_TUNED_MODELS
from persistence.store import Key
from persistence.types import JSON


@operation("listModels")
async def list_models(context: Context, client_version: str | None = None) -> Relayed:
    """Return the models of all routes, and those of providers behind patterns.

    Codex, which names its version, finds what it wants to know about them in `models`.
    """
    gateway = context.services.gateway
    found = {model["id"]: model for model in await gateway.list_models(await chat_credentials(context))}
    models = [found[name] for name in await own_models(context, found)]
    listed: JSON = {"object": "list", "data": models}
    if client_version is not None:
        names = (model["id"] for model in models)
        listed["models"] = [
            codex_model(name, gateway.known_context_window(name), place) for place, name in enumerate(names)
        ]
    return Relayed(listed)


@operation("retrieveModel")
async def retrieve_model(context: Context, model: str) -> Relayed:
    """Return the model."""
    return Relayed(await _model(context, model))


@operation("deleteModel")
async def delete_model(context: Context, model: str) -> RelayedResponse:
    """Delete a model that a fine-tuning job of the project has made; all others are the operator's."""
    if context.principal.has_store:
        document = await context.services.store.get(Key(context.project, FINE_TUNED_MODELS, model))
        if document is not None:
            return await provider_objects.delete(context, MODEL, model)
    await _model(context, model)
    message = (
        f"The model '{model}' belongs to the server's operator and cannot be deleted: only models of the "
        "project's own fine-tuning jobs can, once the job was retrieved as succeeded."
    )
    raise Forbidden(message, param="model")


async def _model(context: Context, model: str) -> JSON:
    try:
        return await context.services.gateway.retrieve_model(model, await chat_credentials(context))
    except ModelNotFound as exc:
        message = f"The model '{model}' does not exist"
        raise NotFound(message, param="model", code="model_not_found") from exc
