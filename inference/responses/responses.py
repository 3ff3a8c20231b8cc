"""Starts responses: finds what they continue, and runs them on the engine."""

import asyncio
import time
from dataclasses import dataclass, field

from inference.deletion import Deletion
from inference.engine import Engine, RunStart, Started, ToolTypes
from inference.engine.attempt import RequestWatch
from inference.engine.preview import first_request
from inference.engine.state import ACTIVE_RUN, RunState
from inference.gateway import CallerSettings, Gateway
from inference.gateway.http.url_files import MAX_BYTES, FetchedFile, FetchFailed, UrlFiles
from inference.image_generation.tool import TYPE as IMAGE_GENERATION
from inference.jobs import Jobs
from inference.limits import MAX_ANSWER
from inference.responses import objects
from inference.responses.api import ResponsesApi
from inference.responses.approvals import approved_requests
from inference.responses.context import Contexts, Previous, segments_with
from inference.responses.conversations import check_unlocked, item_key, settled
from inference.responses.errors import (
    ConversationNotFound,
    ResponseNotFound,
    ResponseUnfinished,
)
from inference.responses.items import REFERENCE, UNRESOLVED, ItemRefused, item_owner, named_files
from inference.responses.memory import ConnectionMemory
from inference.responses.pairs import check_pairs, duplicate
from inference.responses.prompts import Prompts
from inference.responses.references import referenced_item
from inference.responses.sealing import ItemSealer, since_compaction
from inference.responses.state import (
    APPROVED,
    BROUGHT,
    COMPACTION,
    CONTINUED,
    INCLUDE,
    INPUT,
    MODERATION,
    OBFUSCATION,
    OPTIONS,
    PROVIDER,
    SEGMENTS,
    WARM_UP,
)
from inference.responses.tools import BROUGHT_TOOLS
from inference.sealing import Sealer
from inference.webhooks.delivery import Webhooks
from persistence.collections import CONVERSATIONS, GENERATED_IMAGES, RESPONSES
from persistence.errors import DocumentTooLarge, VersionConflict
from persistence.retry import retry_on_conflict
from persistence.store import LOG_LIFETIME, Delete, Document, Key, Replace, Store
from persistence.types import JSON

RESPONSE_DELETION = "response_deletion"
"""The kind of the jobs that delete the images of responses."""

IDS_AT_ONCE = 32
"""Items' ids that are looked up at the same time."""


@dataclass(slots=True)
class ResponseRequest:
    """A caller's request for a response.

    `body` is the request's, `input` its items in stored form, `options` its fields as chat completions name
    them. `memory` are the responses of the caller's connection, which need not be stored. `compaction` has
    the fields of the engine's rule. `watch` follows its requests to the model.
    """

    project: str
    id: str
    body: JSON
    input: list[JSON]
    options: JSON
    caller: CallerSettings | None = None
    memory: ConnectionMemory | None = None
    compaction: JSON | None = None
    watch: RequestWatch = field(default_factory=RequestWatch)

    @property
    def is_stored(self) -> bool:
        """Whether the response is kept."""
        return self.body.get("store") is not False


class Responses:
    """The responses of a store; `log_lifetime` (of their events) is in seconds, `max_answer` in bytes."""

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        jobs: Jobs,
        tools: ToolTypes | None,
        webhooks: Webhooks,
        prompts: Prompts | None = None,
        *,
        log_lifetime: float = LOG_LIFETIME,
        max_answer: int = MAX_ANSWER,
        sealer: Sealer | None = None,
        item_sealer: ItemSealer | None = None,
        urls: UrlFiles | None = None,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self.prompts = prompts or Prompts()
        self.tools = tools or {}
        self.sealer = item_sealer or ItemSealer(store)
        self.contexts = Contexts(store, self.sealer)
        self._urls = urls or UrlFiles()
        self._api = ResponsesApi(store, gateway, self.contexts, self.sealer, webhooks, self._urls)
        self._deletion = Deletion(store, jobs, RESPONSE_DELETION, (), with_contents=(GENERATED_IMAGES,))
        self.engine = Engine(
            store,
            gateway,
            jobs,
            self._api,
            tools,
            log_lifetime=log_lifetime,
            max_answer=max_answer,
            sealer=sealer,
        )

    async def find(self, project: str, id: str) -> Document:
        """Return a response; ResponseNotFound."""
        response = await self._store.get(Key(project, RESPONSES, id))
        if response is None:
            raise ResponseNotFound(id)
        return response

    async def delete(self, project: str, id: str) -> None:
        """Delete a response; one that runs ends without a trace. ResponseNotFound."""

        async def attempt() -> None:
            response = await self.find(project, id)
            if any(tool["type"] == IMAGE_GENERATION for tool in response.value["tools"]):
                await self._deletion.delete(response)
            else:
                await self._store.write(Delete(response))

        await retry_on_conflict(attempt)

    async def start(self, request: ResponseRequest) -> Started:
        """Start a response.

        Its events are returned unless it runs in the background and is not streamed. ItemRefused,
        ItemNotFound, ResponseNotFound, ResponseUnfinished, ConversationNotFound, ConversationLocked,
        ContextTooLong.
        """
        try:
            if not request.is_stored:
                started, _ = await self.start_unstored(request)
                return started
            return await retry_on_conflict(lambda: self._start_stored(request), (VersionConflict,))
        except ItemRefused:
            _discard_previous(request)
            raise
        except DocumentTooLarge as exc:
            advice = "Upload images and files and name them by 'file_id', or send 'store' as false."
            message = f"The input is too large to be stored with its response. {exc} {advice}"
            raise ItemRefused(message, code="object_too_large") from exc

    async def first_request(self, request: ResponseRequest) -> JSON:
        """Return the chat request that a response would begin with; the errors are those of `start`."""
        start, _ = await self._run_start(request, await self._previous(request))
        return await first_request(self._gateway, self.tools, self._api, start)

    async def _start_stored(self, request: ResponseRequest) -> Started:
        previous = await self._previous(request)
        start, _ = await self._run_start(request, previous)
        return await self.engine.start(start)

    async def start_unstored(self, request: ResponseRequest) -> tuple[Started, list[JSON]]:
        """Start a response that is not stored; return it with the items that its model reads."""
        start, context = await self._run_start(request, await self._previous(request))

        async def remember(response: JSON) -> None:
            if request.memory is None:
                return
            if response["status"] in objects.APPENDED:
                output = objects.without_cut_off(response["output"])
                items = since_compaction([*context, *output], self.sealer, request.project)
                await request.memory.put(request.id, items)
            else:
                _discard_previous(request)

        return Started(start.run, self.engine.run_unstored(start, remember)), context

    async def _run_start(self, request: ResponseRequest, previous: Previous) -> tuple[RunStart, list[JSON]]:
        """Return the run of a response, and the items that its model reads."""
        known = {item["id"] for item in previous.items}
        input = await self._resolved(request, known)
        await self._check_new(request, known)
        items = [*previous.items, *input]
        first_new = len(previous.items)
        if not previous.segments:  # of a connection's memory: nothing else keeps them
            input = items
        check_pairs(items, len(items) - len(request.input))
        approved = approved_requests(items, first_new, request.body.get("tools") or [])
        await asyncio.sleep(0)  # each step takes long for 50,000 items
        run = objects.response_object(request.id, request.body, now=int(time.time()))
        extra = {INPUT: input, SEGMENTS: previous.segments, **self._extra(request, items)}
        if approved:
            extra[APPROVED] = approved
        key = Key(request.project, RESPONSES, request.id)
        state = RunState(live=bool(request.body.get("stream")), extra=extra)
        document = Document(key, run, {"extra": extra})
        fetched = await self._fetched(request.input)
        await asyncio.sleep(0)
        history = await self._api.history_of(document, items, fetched)
        made = {"run": run, **{name: extra[name] for name in (INCLUDE, OBFUSCATION, BROUGHT, PROVIDER)}}
        start = RunStart(
            key,
            previous.chain or request.id,
            run,
            made,
            state,
            conversation=previous.busy,
            operations=[] if previous.mark is None else [previous.mark],
            caller=request.caller,
            history=history,
            follows=not request.body.get("background"),
            watch=request.watch,
        )
        return start, items

    def _extra(self, request: ResponseRequest, items: list[JSON]) -> JSON:
        """Return what the run's state keeps of the request beside its object; its model reads `items`."""
        body = request.body
        caller = request.caller.for_chat if request.caller is not None else None
        extra = {
            OPTIONS: request.options,
            COMPACTION: request.compaction,
            MODERATION: (body.get("moderation") or {}).get("model"),
            PROVIDER: self._gateway.provider_of(body["model"], caller),
            INCLUDE: body.get("include") or [],
            OBFUSCATION: (body.get("stream_options") or {}).get("include_obfuscation") is not False,
            BROUGHT: [item for item in items if item["type"] in BROUGHT_TOOLS],
        }
        if body.get("generate") is False:
            extra[WARM_UP] = True
        return extra

    async def _fetched(self, input: list[JSON]) -> dict[str, FetchedFile]:
        """Return the files that the request's own items name by URL; ItemRefused."""
        fetched: dict[str, FetchedFile] = {}
        room = MAX_BYTES
        for url, where in named_files(input, "file_url"):
            if url not in fetched:
                try:
                    fetched[url] = await self._urls.fetch(url, room)
                except FetchFailed as exc:
                    raise ItemRefused(str(exc), where, "failed_to_download_file") from exc
                room -= len(fetched[url].data)
        return fetched

    async def _check_new(self, request: ResponseRequest, known: set[str]) -> None:
        """Refuse an item whose id the conversation has already, before what the model reads of it."""
        conversation = request.body.get("conversation")
        if conversation is None:
            return
        ids = [item["id"] for item in request.input if item["type"] not in UNRESOLVED]
        made = "response", request.id
        ids = [id for id in ids if id not in known and item_owner(id) != made]
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            keys = (item_key(request.project, conversation, id) for id in some)
            found = await asyncio.gather(*map(self._store.get, keys))
            for id, document in zip(some, found, strict=True):
                if document is not None:
                    raise duplicate(id)

    # --- what a response continues ---

    async def _previous(self, request: ResponseRequest) -> Previous:
        previous_id = request.body.get("previous_response_id")
        if previous_id is not None:
            return await self._continued(request, previous_id)
        conversation_id = request.body.get("conversation")
        if conversation_id is not None:
            return await self._in_conversation(request, conversation_id)
        return Previous()

    async def _continued(self, request: ResponseRequest, id: str) -> Previous:
        remembered = request.memory.get(id) if request.memory is not None else None
        if remembered is not None:
            return Previous(items=remembered)
        document = await self._store.get(Key(request.project, RESPONSES, id))
        if document is None:
            raise ResponseNotFound(id, previous=True)
        if not objects.has_ended(document.value):
            raise ResponseUnfinished(id)
        segments = segments_with(document)
        items = await self._items(request, segments)
        extra = document.state["extra"]
        if not request.is_stored or extra.get(CONTINUED):
            return Previous("", segments, items)
        state = {**document.state, "extra": {**extra, CONTINUED: True}}
        return Previous(document.parent, segments, items, mark=Replace(document, state=state))

    async def _in_conversation(self, request: ResponseRequest, id: str) -> Previous:
        conversation = await self._store.get(Key(request.project, CONVERSATIONS, id))
        if conversation is None:
            raise ConversationNotFound(id)
        conversation = await settled(self._store, conversation)
        check_unlocked(conversation)
        items = await self._items(request, [{"conversation": id}])
        segments = [{"conversation": id, "until": items[-1]["id"] if items else None}]
        busy = Replace(conversation, state={**conversation.state, ACTIVE_RUN: request.id})
        return Previous("", segments, items, busy=busy)

    async def _items(self, request: ResponseRequest, segments: list[JSON]) -> list[JSON]:
        window = self._gateway.context_window(request.body["model"])
        truncates = request.body.get("truncation") == "auto"
        return await self.contexts.read(request.project, segments, window, truncates=truncates)

    # --- references ---

    async def _resolved(self, request: ResponseRequest, known: set[str]) -> list[JSON]:
        """Return the input with items in place of references; those to items of the context are left out."""
        resolved: list[JSON] = []
        for item in request.input:
            if item["type"] != REFERENCE:
                resolved.append(item)
            elif item["id"] not in known:
                resolved.append(await referenced_item(self._store, request.project, item["id"]))
        return resolved


def _discard_previous(request: ResponseRequest) -> None:
    """Discard the response of a connection that a request failed to continue."""
    previous = request.body.get("previous_response_id")
    if request.memory is not None and previous is not None:
        request.memory.discard(previous)
