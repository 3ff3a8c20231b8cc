"""The Realtime API, relayed to the provider of the model: secrets, sessions, calls and the WebSocket."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from handlers import provider_objects
from handlers.context import Context
from handlers.credentials import chat_credentials
from handlers.errors import BadRequest
from handlers.ownership import check_model_owner, check_session_owners
from handlers.provider_objects import Kind
from handlers.registry import operation
from handlers.relaying import openai_target, relay_to
from inference.errors import ModelNotFound
from inference.gateway.driver import ProviderRequest
from inference.gateway.http.forms import Form
from inference.gateway.realtime import ProviderSocket
from inference.gateway.relay import RelayedResponse
from inference.gateway.routing.targets import Target
from persistence.collections import REALTIME_CALLS
from persistence.types import JSON
from spec.body import parse_json

DEFAULT_MODEL = "gpt-realtime"
TRANSCRIBES = "gpt-4o-transcribe"
"""The models of sessions that name none."""

CALL = Kind(REALTIME_CALLS, "/realtime/calls", "call", "call_id")
SDP = "application/sdp"
RELAYED_HEADERS = ("openai-beta", "openai-safety-identifier")
"""Headers of a client that its provider gets."""

_CALL_ID = re.compile(r"/calls/([A-Za-z0-9_.-]{1,256})$")


@operation("create-realtime-client-secret", cancel_on_disconnect=True)
async def create_realtime_client_secret(context: Context, body: JSON | None = None) -> RelayedResponse:
    """Create a secret with which a client connects to the provider by itself."""
    body = body or {}
    session = body.get("session") or {"type": "realtime"}
    await check_session_owners(context, session)
    model = _session_model(session)
    return await _post(
        context,
        "/realtime/client_secrets",
        model,
        lambda target: {**body, "session": _with_model(session, target.model)},
    )


@operation("create-realtime-translation-client-secret", cancel_on_disconnect=True)
async def create_realtime_translation_client_secret(context: Context, body: JSON) -> RelayedResponse:
    """Create a secret for a session that translates."""
    session = body["session"]
    await check_session_owners(context, session)
    return await _post(
        context,
        "/realtime/translations/client_secrets",
        session["model"],
        lambda target: {**body, "session": {**session, "model": target.model}},
    )


@operation("create-realtime-session", cancel_on_disconnect=True)
async def create_realtime_session(context: Context, body: JSON) -> RelayedResponse:
    """Create a session of the beta of the Realtime API, with a secret."""
    model = body.get("model") or DEFAULT_MODEL
    return await _post(context, "/realtime/sessions", model, lambda target: {**body, "model": target.model})


@operation("create-realtime-transcription-session", cancel_on_disconnect=True)
async def create_realtime_transcription_session(context: Context, body: JSON) -> RelayedResponse:
    """Create a session of the beta that transcribes, with a secret."""
    asked = body.get("input_audio_transcription") or {}
    await check_model_owner(context, asked.get("model"))

    def sent(target: Target) -> JSON:
        return {**body, "input_audio_transcription": {**asked, "model": target.model}} if asked else body

    return await _post(context, "/realtime/transcription_sessions", asked.get("model") or TRANSCRIBES, sent)


# --- calls ---


@operation("create-realtime-call")
async def create_realtime_call(
    context: Context, body: JSON | bytes, form: Form | None = None
) -> RelayedResponse:
    """Begin a call over WebRTC; the answer is the provider's SDP, and Location names the call."""
    session = _session_of(form) if form else {"type": "realtime"}
    await check_session_owners(context, session)
    model = session.get("model") or DEFAULT_MODEL
    target = await openai_target(context, model, f"POST {CALL.path}")
    headers: dict[str, str] = {}
    sent: Any = body
    path = CALL.path
    if form is not None:
        sent = form.with_text("session", _encoded(_with_model(session, target.model)))
    else:
        headers = {"content-type": SDP}
        path = f"{path}?model={quote(target.model, safe='')}"
    request = ProviderRequest("POST", path, sent, headers)
    response = await relay_to(context, target, request, is_json=False)
    found = _CALL_ID.search(response.headers.get("location", ""))
    if found is not None and context.principal.has_store:
        await provider_objects.record(context, CALL, model, target, {"id": found[1]})
    return response


@operation("accept-realtime-call")
async def accept_realtime_call(context: Context, call_id: str, body: JSON) -> RelayedResponse:
    """Accept an incoming call, which belongs to the project from now on."""
    _check_id(call_id)
    await check_session_owners(context, body)
    model = body.get("model") or DEFAULT_MODEL
    target = await openai_target(context, model, f"POST {CALL.path}")
    sent = _with_model(body, target.model)
    request = ProviderRequest("POST", CALL.of(call_id, "accept"), sent)
    response = await relay_to(context, target, request, is_json=False)
    await provider_objects.record(context, CALL, model, target, {"id": call_id})
    return response


@operation("reject-realtime-call")
async def reject_realtime_call(context: Context, call_id: str, body: JSON | None = None) -> RelayedResponse:
    """Reject an incoming call."""
    _check_id(call_id)
    try:
        target = await openai_target(context, DEFAULT_MODEL, f"POST {CALL.path}")
    except ModelNotFound:
        target = await openai_target(context, None, f"POST {CALL.path}")
    request = ProviderRequest("POST", CALL.of(call_id, "reject"), body)
    return await relay_to(context, target, request, is_json=False)


@operation("refer-realtime-call")
async def refer_realtime_call(context: Context, call_id: str, body: JSON) -> RelayedResponse:
    """Transfer one of the project's calls."""
    document = await provider_objects.find(context, CALL, call_id)
    path = CALL.of(call_id, "refer")
    return await provider_objects.ask(context, document, "POST", path, body, is_json=False)


@operation("hangup-realtime-call")
async def hangup_realtime_call(context: Context, call_id: str) -> RelayedResponse:
    """End one of the project's calls."""
    document = await provider_objects.find(context, CALL, call_id)
    return await provider_objects.ask(context, document, "POST", CALL.of(call_id, "hangup"), is_json=False)


# --- the WebSocket ---


async def connect(context: Context, query: Mapping[str, str]) -> ProviderSocket:
    """Open the provider's WebSocket for a client: of a model, of a call, or for transcription."""
    gateway = context.services.gateway
    unknown = sorted(query.keys() - {"model", "call_id", "intent"})
    if unknown:
        raise BadRequest(f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter")
    model, call_id = query.get("model"), query.get("call_id")
    await check_model_owner(context, model)
    if call_id:
        document = await provider_objects.find(context, CALL, call_id)
        target = await provider_objects.target_of(context, document)
        asked = dict(query)
    else:
        if not model and query.get("intent") != "transcription":
            raise BadRequest("Missing required parameter: 'model'.", param="model", code="missing_parameter")
        name = model or TRANSCRIBES
        target = gateway.targets(name, await chat_credentials(context))[0]
        asked = {**query, "model": target.model} if model else dict(query)
    headers = {name: context.headers[name] for name in RELAYED_HEADERS if name in context.headers}
    return await gateway.open_realtime(target, asked, headers)


# --- parts ---


def _check_id(call_id: str) -> None:
    """Raise NotFound for what is no id: it becomes a part of the provider's URL."""
    if provider_objects.ID.fullmatch(call_id) is None:
        raise provider_objects.not_found(CALL, call_id)


async def _post(context: Context, path: str, model: str, sent: Any) -> RelayedResponse:
    """Return what the provider of the model answers to the body that `sent` makes for its deployment."""

    async def call(target: Target) -> RelayedResponse:
        return await relay_to(context, target, ProviderRequest("POST", path, sent(target)))

    return await context.services.gateway.first_answer(model, call, await chat_credentials(context))


def _session_model(session: JSON) -> str:
    if session.get("type") != "transcription":
        return session.get("model") or DEFAULT_MODEL
    transcription = ((session.get("audio") or {}).get("input") or {}).get("transcription") or {}
    return transcription.get("model") or TRANSCRIBES


def _with_model(session: JSON, model: str) -> JSON:
    """Return a session with the route's model, where it names one."""
    if session.get("type") != "transcription":
        return {**session, "model": model}
    audio = session.get("audio") or {}
    given = audio.get("input") or {}
    transcription = given.get("transcription") or {}
    if not transcription.get("model"):
        return session
    given = {**given, "transcription": {**transcription, "model": model}}
    return {**session, "audio": {**audio, "input": given}}


def _session_of(form: Form) -> JSON:
    text = form.text("session")
    value = parse_json(text.encode()) if text else None
    return value if isinstance(value, dict) else {"type": "realtime"}


def _encoded(value: JSON) -> str:
    return orjson.dumps(value).decode()
