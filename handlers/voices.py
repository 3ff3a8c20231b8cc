"""Custom voices and the consents of their speakers, which their provider keeps for one project."""

from handlers import provider_objects
from handlers.context import Context, Relayed
from handlers.credentials import require_store
from handlers.pages import list_page, read_page
from handlers.provider_objects import Kind
from handlers.registry import operation
from handlers.relaying import openai_target, relay_to
from inference.gateway.driver import ProviderRequest
from inference.gateway.http.forms import Form
from inference.gateway.relay import RelayedResponse
from persistence.collections import VOICE_CONSENTS, VOICES
from persistence.store import Replace
from persistence.types import JSON

CONSENT = Kind(VOICE_CONSENTS, "/audio/voice_consents", "voice consent", "consent_id")
VOICE = Kind(VOICES, "/audio/voices", "voice", "voice")


@operation("createVoiceConsent")
async def create_voice_consent(context: Context, body: JSON, form: Form) -> RelayedResponse:  # noqa: ARG001
    """Send the recording of a speaker's consent to the first provider that has voices."""
    require_store(context, f"a {CONSENT.noun}")
    target = await openai_target(context, None, f"POST {CONSENT.path}")
    response = await relay_to(context, target, ProviderRequest("POST", CONSENT.path, form))
    consent = await provider_objects.value_of(response)
    await provider_objects.record(context, CONSENT, target.model, target, consent)
    return response


@operation("listVoiceConsents")
async def list_voice_consents(context: Context, limit: int = 20, after: str | None = None) -> Relayed:
    """Return a page of the project's consents; only requests to this server change them."""
    require_store(context, "voice consents")
    limit = min(max(limit, 1), provider_objects.MOST)
    return Relayed(
        list_page(await read_page(context, VOICE_CONSENTS, limit=limit, order="desc", after=after))
    )


@operation("getVoiceConsent", cancel_on_disconnect=True)
async def get_voice_consent(context: Context, consent_id: str) -> RelayedResponse:
    """Return the consent."""
    return await provider_objects.retrieve(context, CONSENT, consent_id)


@operation("updateVoiceConsent")
async def update_voice_consent(context: Context, consent_id: str, body: JSON) -> RelayedResponse:
    """Rename the consent."""
    document = await provider_objects.find(context, CONSENT, consent_id)
    response = await provider_objects.ask(context, document, "POST", CONSENT.of(consent_id), body)
    consent = await provider_objects.value_of(response)
    await context.services.store.write(Replace(document, consent))
    return response


@operation("deleteVoiceConsent")
async def delete_voice_consent(context: Context, consent_id: str) -> RelayedResponse:
    """Delete the consent at its provider."""
    return await provider_objects.delete(context, CONSENT, consent_id)


@operation("createVoice")
async def create_voice(context: Context, body: JSON, form: Form) -> RelayedResponse:
    """Have the provider of one of the project's consents make a voice of a sample."""
    consent = await provider_objects.find(context, CONSENT, str(body["consent"]))
    response = await provider_objects.ask(context, consent, "POST", VOICE.path, form=form)
    voice = await provider_objects.value_of(response)
    await provider_objects.record_of(context, VOICE, consent, voice)
    return response
