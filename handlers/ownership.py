"""Fine-tuned models and custom voices, which requests name: each answers only the project that made it.

The account at the provider is the operator's, and would answer every project.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from handlers.context import Context
from handlers.credentials import chat_credentials
from handlers.errors import NotFound
from inference.errors import ModelNotFound
from persistence.collections import FINE_TUNED_MODELS, VOICES
from persistence.store import Key
from persistence.types import JSON

VOICE_PREFIX = "voice_"
"""How the ids of custom voices begin."""


async def check_owners(context: Context, arguments: JSON) -> None:
    """Refuse a request that names a model or a voice that another project has had made.

    Raises ModelNotFound and NotFound, as for names that nobody knows.
    """
    await check_model_owner(context, arguments.get("model"))
    body = arguments.get("body")
    if not isinstance(body, dict):
        return
    if "model" in body:
        await check_model_owner(context, body["model"])
    if "voice" in body:
        await check_voice_owner(context, body["voice"], "voice")
    for tool in body.get("tools") or ():
        if tool.get("type") == "image_generation":
            await check_model_owner(context, tool.get("model"))
    if "audio" in body:
        await check_voice_owner(context, _member(body, "audio", "voice"), "audio.voice")


async def check_session_owners(context: Context, session: JSON) -> None:
    """Refuse a Realtime session whose voice or models another project has had made."""
    await check_model_owner(context, session.get("model"))
    await check_model_owner(context, _member(session, "audio", "input", "transcription", "model"))
    await check_voice_owner(context, session.get("voice"), "session.voice")
    voice = _member(session, "audio", "output", "voice")
    await check_voice_owner(context, voice, "session.audio.output.voice")


async def check_grader_owners(context: Context, grader: Any) -> None:
    """Refuse a grader that asks a fine-tuned model of another project, itself or in one that it joins."""
    joined = _member(grader, "graders")
    for each in (grader, joined, *(joined.values() if isinstance(joined, dict) else ())):
        await check_model_owner(context, _member(each, "model"))


async def check_model_owner(context: Context, model: Any) -> None:
    """Raise ModelNotFound for a fine-tuned model that is not the project's."""
    if not isinstance(model, str) or not context.services.gateway.fine_tuned_names(model):
        return
    if not await own_models(context, [model]):
        hint = (
            "A fine-tuned model answers the project whose job made it, once that was retrieved as succeeded; "
            "others need a route of its name in models.yaml."
        )
        raise ModelNotFound(model, hint)


async def own_models(context: Context, models: Iterable[str]) -> list[str]:
    """Return the models that the project may use: all but the fine-tuned ones of others."""
    if not _has_others(context):
        return list(models)
    credentials = await chat_credentials(context)
    if credentials is not None and credentials.has_account:
        return list(models)  # they are on the caller's own account
    names = {model: context.services.gateway.fine_tuned_names(model) for model in models}
    fine_tuned = [model for model in names if names[model]]
    made = await asyncio.gather(*(_is_made(context, FINE_TUNED_MODELS, names[model]) for model in fine_tuned))
    others = {model for model, is_made in zip(fine_tuned, made, strict=True) if not is_made}
    return [model for model in names if model not in others]


async def check_voice_owner(context: Context, voice: Any, param: str) -> None:
    """Raise NotFound for a custom voice that is not the project's."""
    id = voice.get("id") if isinstance(voice, dict) else voice
    is_custom = isinstance(id, str) and (isinstance(voice, dict) or id.startswith(VOICE_PREFIX))
    if not is_custom or not _has_others(context):
        return
    credentials = await chat_credentials(context)
    if credentials is not None and credentials.has_account:
        return
    if not await _is_made(context, VOICES, [str(id)]):
        raise NotFound(f"No voice found with id '{id}'.", param=param, code="not_found")


async def _is_made(context: Context, collection: str, ids: Iterable[str]) -> bool:
    """Return whether an object of one of these ids was made for the project."""
    if not context.principal.has_store:
        return False
    keys = (Key(context.project, collection, id) for id in ids)
    found = await asyncio.gather(*map(context.services.store.get, keys))
    return any(document is not None for document in found)


def _has_others(context: Context) -> bool:
    """Return whether the server has more projects than the caller's: it needs keys or tokens."""
    principal = context.principal
    return principal.key_id is not None or principal.is_astra


def _member(value: Any, *names: str) -> Any:
    """Return a member of nested objects, None where one is missing or no object."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
