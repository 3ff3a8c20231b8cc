"""Objects that providers keep, such as videos: each belongs to the project that created it.

The account at the provider is the operator's, for all projects. So the store has a document for each
object, which says whose it is and which deployment has it; another project does not find it. An object on
a caller's own account is never asked for on the operator's.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import orjson
import structlog

from handlers.context import Context
from handlers.credentials import chat_credentials, require_store
from handlers.errors import NotFound
from handlers.relaying import body_for, openai_target, relay_to
from inference.errors import ModelNotFound, ProviderError, ProviderRejected
from inference.gateway import Credentials, failures
from inference.gateway.driver import ProviderRequest
from inference.gateway.http.forms import Form
from inference.gateway.relay import RelayedBody, RelayedResponse
from inference.gateway.routing.targets import Target
from persistence.errors import Conflict
from persistence.retry import update_with_retry
from persistence.store import Delete, Document, Insert, Key, Replace
from persistence.types import JSON

ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.:-]{1,256}")
"""The form of a provider's ids, which become parts of its URLs: `..` would lead to another operation."""

MOST = 100
"""Objects of a page, at most."""

REFRESHED_AT_ONCE = 8
"""Objects of a list that are asked for at the same time."""

log = structlog.get_logger("astrolabe.providers")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object. An object with a status in `final` does not change any more."""

    collection: str
    path: str
    noun: str
    param: str
    final: frozenset[str] = frozenset()

    def of(self, id: str, *rest: str, **query: object) -> str:
        """Return the path of an object at its provider."""
        given = {name: value for name, value in query.items() if value is not None}
        path = "/".join((self.path, *(quote(part, safe="") for part in (id, *rest))))
        return f"{path}?{urlencode(given)}" if given else path


async def create(
    context: Context,
    kind: Kind,
    body: JSON,
    form: Form | None = None,
    *,
    default_model: str | None = None,
    path: str | None = None,
    has_model: bool = True,
) -> RelayedResponse:
    """Have the provider of the model make an object, once, and note whose it is.

    Without `has_model` the provider's request names no model: it only decides which provider is asked.
    """
    require_store(context, f"a {kind.noun}")
    model = str(body.get("model") or default_model)
    path = path or kind.path
    target = await openai_target(context, model, f"POST {path}")
    sent = body_for(target, body, form) if has_model else form or body
    response = await relay_to(context, target, ProviderRequest("POST", path, sent))
    await record(context, kind, model, target, await value_of(response))
    return response


async def record(
    context: Context, kind: Kind, model: str, target: Target, value: JSON, beside: JSON | None = None
) -> None:
    """Note that an object is the project's, and which deployment has it; `beside` is kept too."""
    credentials = await chat_credentials(context)
    state = {
        "model": model,
        "provider": target.provider,
        "deployment": target.key,
        "is_callers": credentials is not None and credentials.has_account,
        **(beside or {}),
    }
    await _insert(context, kind, value, state)


async def record_of(context: Context, kind: Kind, source: Document, value: JSON) -> None:
    """Note that an object is the project's, which the deployment of another one has made of that."""
    state = {name: source.state[name] for name in ("model", "provider", "deployment", "is_callers")}
    await _insert(context, kind, value, state)


async def _insert(context: Context, kind: Kind, value: JSON, state: JSON) -> None:
    try:
        await context.services.store.write(
            Insert(Key(context.project, kind.collection, value["id"]), value, state)
        )
    except Conflict:
        log.info("provider_object_known", collection=kind.collection, id=value["id"])


async def find(context: Context, kind: Kind, id: str) -> Document:
    """Return the document of one of the project's objects; raise NotFound without it."""
    require_store(context, f"a {kind.noun}")
    document = await context.services.store.get(Key(context.project, kind.collection, id))
    if document is None:
        raise not_found(kind, id)
    return document


def not_found(kind: Kind, id: str) -> NotFound:
    """Return the error of an id that no object of the project has."""
    return NotFound(f"No {kind.noun} found with id '{id}'.", param=kind.param, code="not_found")


async def ask(
    context: Context,
    document: Document,
    method: str,
    path: str,
    body: JSON | None = None,
    form: Form | None = None,
    *,
    is_json: bool = True,
) -> RelayedResponse:
    """Return what the deployment that has an object answers."""
    request = ProviderRequest(method, path, form or body)
    return await relay_to(context, await target_of(context, document), request, is_json=is_json)


async def target_of(context: Context, document: Document) -> Target:
    """Return the deployment that has an object, on the account on which it was created."""
    state, credentials = document.state, await chat_credentials(context) or Credentials()
    if not state["is_callers"]:
        credentials = Credentials(provider=credentials.provider)
    elif not credentials.has_account:
        raise ProviderRejected.invalid(
            f"'{document.id}' is on its creator's account at the provider '{state['provider']}': send the "
            "header 'api-key' with which it was created.",
            "api-key",
            "missing_header",
        )
    return context.services.gateway.providers_target(
        state["model"], state["provider"], state["deployment"], credentials
    )


async def retrieve(context: Context, kind: Kind, id: str) -> RelayedResponse:
    """Return an object as its provider has it now."""
    document = await find(context, kind, id)
    response = await ask(context, document, "GET", kind.of(id))
    await note(context, document, await value_of(response))
    return response


async def note(context: Context, document: Document, value: JSON) -> None:
    """Keep what was seen of an object, if its status has changed."""
    if value.get("status") == document.value.get("status"):
        return
    try:
        await context.services.store.write(Replace(document, value))
    except Conflict:
        log.info("provider_object_changed", collection=document.key.collection, id=document.id)


async def refreshed(context: Context, kind: Kind, documents: Sequence[Document]) -> list[JSON]:
    """Return objects as their providers have them now; one that cannot be had, as it was last seen."""
    slots = asyncio.Semaphore(REFRESHED_AT_ONCE)

    async def current(document: Document) -> JSON:
        if document.value.get("status") in kind.final:
            return document.value
        async with slots:
            try:
                value = await value_of(await ask(context, document, "GET", kind.of(document.id)))
            except (ModelNotFound, ProviderError) as exc:
                log.info("provider_object_not_read", collection=kind.collection, reason=str(exc))
                return document.value
        await note(context, document, value)
        return value

    return list(await asyncio.gather(*map(current, documents)))


async def delete(context: Context, kind: Kind, id: str) -> RelayedResponse:
    """Have the provider delete an object, and delete its document, also if the provider has lost it."""
    document = await find(context, kind, id)
    try:
        response = await ask(context, document, "DELETE", kind.of(id))
    except ProviderError as exc:
        if exc.status == NotFound.status:
            await update_with_retry(context.services.store, document.key, Delete)
        raise
    await update_with_retry(context.services.store, document.key, Delete)
    return response


async def value_of(response: RelayedResponse) -> JSON:
    """Return the object of a response; ProviderBroken if it is not an object with an id."""
    value = await json_of(response)
    id = value.get("id")
    if not isinstance(id, str) or ID.fullmatch(id) is None:
        raise failures.unreadable("it is not an object with an id")
    if not isinstance(value.get("status"), str | None):
        raise failures.unreadable("its status is not a string")
    return value


async def json_of(response: RelayedResponse) -> JSON:
    """Return the JSON object of a response that was read whole, else ProviderBroken."""
    if isinstance(response.body, RelayedBody):
        await response.body.aclose()
        raise failures.unreadable("it is a stream, or too large for an object")
    try:
        value = orjson.loads(response.body)
    except orjson.JSONDecodeError as exc:
        raise failures.unreadable("it is not strict JSON") from exc
    if not isinstance(value, dict):
        raise failures.unreadable("it is not an object")
    return value
