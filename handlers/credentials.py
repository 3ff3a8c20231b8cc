"""A caller's own provider settings, from request headers.

In `astra` mode these are the headers of the Astra Assistants API. Else they are `api-key`, `LLM-PARAM-*`
and `EMBEDDING-PARAM-*`, which count only if ASTROLABE_CALLER_KEYS allows it.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from handlers.context import Context
from handlers.errors import Forbidden, NotFound
from handlers.google import google_credentials
from handlers.provider_parameters import CHAT, EMBEDDING, invalid_header, read_parameters
from inference.gateway import CallerSettings, Credentials
from inference.retrieval.errors import ObjectNotFound
from inference.retrieval.files import EMBEDDING_MODEL
from persistence.types import JSON

GOOGLE = "google-application-credentials-file-id"

PARAMETERS = {
    "api-version": "api_version",
    "aws-access-key-id": "aws_access_key_id",
    "aws-region-name": "aws_region_name",
    "aws-secret-access-key": "aws_secret_access_key",
    "project-id": "project_id",
    "vertexai-location": "vertex_location",
    "vertexai-project": "vertex_project",
}
"""Headers with the parameters that providers know them by."""

CALLER_HEADERS = frozenset(
    {
        *PARAMETERS,
        "api-key",
        "astra-api-token",
        "astra-db-id",
        "base-url",
        "custom-llm-provider",
        "embedding-model",
        GOOGLE,
    }
)
"""Headers in which callers say who they are and which provider is asked for them, once each."""

LARGEST = 8192
"""Bytes of one such header; the largest are tokens of AWS and Azure."""

VALUE = re.compile(r"[ -~]*")


async def caller_settings(context: Context) -> CallerSettings | None:
    """Return the settings of a request's headers, None without any; raises BadRequest naming a header."""
    if context.settings is not None:
        return context.settings
    headers, gateway = context.headers, context.services.gateway
    if not gateway.accepts_credentials:
        return None
    if not context.principal.is_astra:
        chat, embedding = _credentials(headers, CHAT), _credentials(headers, EMBEDDING)
        if chat is None and embedding is None:
            return None
        return CallerSettings(chat or Credentials(), embedding or Credentials())
    _check(headers)
    google = await _google(context, headers[GOOGLE]) if GOOGLE in headers else None
    settings = CallerSettings(
        _astra_credentials(headers, CHAT, google),
        _astra_credentials(headers, EMBEDDING, google),
        headers.get("embedding-model") or None,
    )
    return None if settings == CallerSettings() else settings


@dataclass(frozen=True, slots=True)
class IngestionSettings:
    """How a request's files are embedded: `caller` is for the payloads of their jobs."""

    model: str | None = None
    caller: JSON = field(default_factory=dict)


async def ingestion_settings(context: Context, file_ids: Sequence[str] = ()) -> IngestionSettings:
    """Return how files that a request attaches are embedded; SettingsNotKept where settings cannot be kept.

    The model is that of the header `embedding-model`, else that of the first file's upload.
    """
    settings = await caller_settings(context)
    if settings is None:
        return IngestionSettings()
    gateway, model = context.services.gateway, settings.embedding_model
    if model is None and file_ids:
        model = await _uploads_model(context, file_ids[0])
    used = model or gateway.default_embedding_model()
    if used is None or not gateway.uses_credentials(used):
        return IngestionSettings(model)
    kept = CallerSettings(embedding=settings.embedding)
    return IngestionSettings(model, context.services.retrieval.sealer.seal(context.project, kept))


async def _uploads_model(context: Context, file_id: str) -> str | None:
    with suppress(ObjectNotFound):
        document = await context.services.retrieval.files.get(context.project, file_id)
        model: str | None = document.value.get(EMBEDDING_MODEL)
        return model
    return None


async def chat_credentials(context: Context) -> Credentials | None:
    """Return the caller's credentials for chat completions; None without any."""
    settings = await caller_settings(context)
    return None if settings is None else settings.chat


async def embedding_credentials(context: Context) -> Credentials | None:
    """Return the caller's credentials for embeddings; None without any."""
    settings = await caller_settings(context)
    return None if settings is None else settings.embedding


def _credentials(headers: Mapping[str, str], prefix: str) -> Credentials | None:
    settings, fields = read_parameters(headers, prefix)
    api_key = settings.pop("api_key", None) or headers.get("api-key")
    base_url = settings.pop("base_url", None) or settings.pop("api_base", None)
    if not (api_key or base_url or settings or fields):
        return None
    return Credentials(api_key, base_url, tuple(settings.items()), fields=fields)


# --- Astra's headers ---


def _check(headers: Mapping[str, str]) -> None:
    """Refuse values that no setting has, by the names of their headers: values may be secrets."""
    for name in headers:
        if name != "authorization" and name not in CALLER_HEADERS and not name.startswith((CHAT, EMBEDDING)):
            continue
        value = headers[name]
        if len(value) > LARGEST:
            raise invalid_header(name, f"has {len(value)} characters, where {LARGEST} are the most")
        if VALUE.fullmatch(value) is None:
            raise invalid_header(name, "has characters that are not printable ASCII")


def _astra_credentials(headers: Mapping[str, str], prefix: str, google: str | None) -> Credentials:
    settings, fields = read_parameters(headers, prefix)
    settings = {own: headers[name] for name, own in PARAMETERS.items() if headers.get(name)} | settings
    api_key = settings.pop("api_key", None) or headers.get("api-key") or _bearer(headers)
    base_url = settings.pop("base_url", None) or settings.pop("api_base", None) or headers.get("base-url")
    provider = settings.pop("custom_llm_provider", None) or headers.get("custom-llm-provider") or ""
    return Credentials(api_key, base_url, tuple(settings.items()), provider, fields, google)


def _bearer(headers: Mapping[str, str]) -> str | None:
    """Return the key of an Authorization header; raises BadRequest for one of another scheme."""
    authorization = headers.get("authorization")
    if not authorization:
        return None
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or " " in key.strip():
        raise invalid_header("authorization", "is not 'Bearer' and a key")
    return key.strip() or None


def require_store(context: Context, what: str) -> None:
    """Raise Forbidden for a caller who is known by a provider's key only."""
    if not context.principal.has_store:
        raise Forbidden(
            f"Astrolabe needs the header 'astra-api-token' for {what}: send an Astra DB token in it.",
            code="missing_token",
        )


async def _google(context: Context, file_id: str) -> str:
    """Return Google's credentials from a file of the caller's, as JSON; raises BadRequest or NotFound."""
    require_store(context, f"the header '{GOOGLE}'")
    files = context.services.retrieval.files
    try:
        document = await files.get(context.project, file_id, GOOGLE)
    except ObjectNotFound as exc:
        raise NotFound(f"The header '{GOOGLE}' names a file that does not exist.", param=GOOGLE) from exc
    if document.value["purpose"] != "auth":
        raise invalid_header(
            GOOGLE, f"names a file of purpose '{document.value['purpose']}', where 'auth' is needed"
        )
    content = b"".join(
        [piece async for piece in files.read(document, 0, min(document.value["bytes"], LARGEST))]
    )
    try:
        return google_credentials(content)
    except ValueError as exc:
        raise invalid_header(GOOGLE, f"names a file that is not usable: {exc}") from exc
