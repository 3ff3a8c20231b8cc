"""Audio: spoken, transcribed and translated by the provider of the model, whose response is relayed."""

from handlers.context import Context
from handlers.registry import operation
from handlers.relaying import relay
from inference.gateway.http.forms import Form
from inference.gateway.paths import SPEECH, TRANSCRIPTIONS, TRANSLATIONS
from inference.gateway.relay import RelayedResponse
from persistence.types import JSON


@operation("createSpeech", cancel_on_disconnect=True)
async def create_speech(context: Context, body: JSON) -> RelayedResponse:
    """Speak a text: audio as it is made, or events of it with `stream_format: sse`."""
    return await relay(context, SPEECH, body)


@operation("createTranscription", cancel_on_disconnect=True)
async def create_transcription(context: Context, body: JSON, form: Form) -> RelayedResponse:
    """Transcribe a file, in the response format that the request names."""
    return await relay(context, TRANSCRIPTIONS, body, form)


@operation("createTranslation", cancel_on_disconnect=True)
async def create_translation(context: Context, body: JSON, form: Form) -> RelayedResponse:
    """Translate a file's speech into English text."""
    return await relay(context, TRANSLATIONS, body, form)
