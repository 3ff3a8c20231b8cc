"""What the engine needs of the Responses API."""

import asyncio
from collections.abc import Mapping
from typing import Any

from inference.engine.events import ItemDelta
from inference.engine.feeds import NumberedFrame
from inference.engine.renderer import Renderer
from inference.engine.state import CompactionRule, History, RunState, Settings
from inference.engine.tools import tool_entry
from inference.gateway import Credentials, Gateway
from inference.gateway.http.url_files import FetchedFile, UrlFiles
from inference.image_generation.generated_images import with_images
from inference.image_generation.tool import TYPE as IMAGE_GENERATION
from inference.input_files import InputFiles
from inference.responses import objects
from inference.responses.approvals import approved_call
from inference.responses.chat import chat_messages
from inference.responses.context import Contexts
from inference.responses.event_frames import TERMINAL, sse
from inference.responses.item_images import image_urls
from inference.responses.moderation import moderated
from inference.responses.prompts import split_instructions
from inference.responses.renderer import ResponsesRenderer, Seal
from inference.responses.sealing import ItemSealer, since_compaction, unsealed_items
from inference.responses.state import (
    APPROVED,
    BROUGHT,
    COMPACTION,
    INPUT,
    MODERATION,
    OPTIONS,
    PROVIDER,
    WARM_UP,
)
from inference.responses.tool_items import EARLIER
from inference.responses.tools import RequestTools
from inference.webhooks.delivery import Webhooks
from persistence.collections import CONVERSATIONS, RESPONSES
from persistence.store import Document, Key, Operation, Store
from persistence.types import JSON

LIFETIME = 3600
"""Seconds that a response may take."""


class ResponsesApi:
    """Runs are responses; items are their output items."""

    kind = "response"
    runs = RESPONSES
    calls_end_runs = True
    outlives_conversation = True
    ends_with_mark = False

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        contexts: Contexts,
        sealer: ItemSealer,
        webhooks: Webhooks,
        urls: UrlFiles,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._contexts = contexts
        self._sealer = sealer
        self._webhooks = webhooks
        self._urls = urls

    def conversation(self, run: Document) -> Key | None:
        """Return the key of the response's conversation."""
        conversation = run.value.get("conversation")
        return None if conversation is None else Key(run.key.project, CONVERSATIONS, conversation["id"])

    def renderer(self, project: str, run: JSON, state: RunState) -> Renderer:
        """Return the renderer of a response as it is stored."""
        return ResponsesRenderer(project, run, state, self._seal(project, state))

    def replay(self, project: str, objects: JSON) -> tuple[RunState, Renderer]:
        """Return state and renderer for a log from its first event on."""
        extra = {name: value for name, value in objects.items() if name != "run"}
        state = RunState(extra=extra)
        return state, self.renderer(project, objects["run"], state)

    def _seal(self, project: str, state: RunState) -> Seal | None:
        """Return what encrypts contents of a response's items; None without a key."""
        if not self._sealer.can_seal:
            return None
        provider = state.extra.get(PROVIDER)
        return lambda kind, content: self._sealer.seal(project, kind, {**content, PROVIDER: provider})

    def move(self, run: JSON, status: str, at: int) -> JSON:
        """Return the response in another status."""
        return objects.moved(run, status, at)

    def settings(self, run: Document) -> Settings:
        """Return what a response asks of its model."""
        value, extra = run.value, run.state["extra"]
        tools = RequestTools.of(value["tools"], value["tool_choice"], extra[BROUGHT])
        return Settings(
            model=value["model"],
            instructions=split_instructions(value["instructions"])[0],
            expires_at=value["created_at"] + LIFETIME,
            tools=[*tools.functions, *map(tool_entry, tools.server)],
            resources=tuple(_resources(tool) for tool in tools.server if tool["type"] == "file_search"),
            options=extra[OPTIONS],
            tool_choice=tools.choice or "auto",
            parallel_tool_calls=value["parallel_tool_calls"],
            response_format=_response_format(value["text"]["format"]),
            reasoning_effort=value["reasoning"]["effort"],
            max_completion_tokens=value["max_output_tokens"],
            max_tool_calls=None if (most := value["max_tool_calls"]) is None else int(most),
            drops_oldest=value["truncation"] == "auto",
            asks_model=not extra.get(WARM_UP),
            approved=tuple(map(approved_call, extra.get(APPROVED, ()))),
            compaction=None if extra.get(COMPACTION) is None else CompactionRule(**extra[COMPACTION]),
        )

    async def history(self, run: Document, window: int) -> History:
        """Return the response's context with its input as chat messages."""
        return await self.history_of(run, await self._contexts.of_request(run, window))

    async def history_of(
        self, run: Document, items: list[JSON], fetched: Mapping[str, FetchedFile] | None = None
    ) -> History:
        """Return the items of a response's context as chat messages; `fetched` has files by their URL."""
        project, value, extra = run.key.project, run.value, run.state["extra"]
        tools = RequestTools.of(value["tools"], value["tool_choice"], extra[BROUGHT])
        _, prompt = split_instructions(value["instructions"])
        items = [*prompt, *since_compaction(items, self._sealer, project)]
        await asyncio.sleep(0)  # each step takes long for 50,000 items
        unsealed = unsealed_items(items, self._sealer, project, extra.get(PROVIDER))
        await asyncio.sleep(0)
        edits_images = any(tool["type"] == IMAGE_GENERATION for tool in tools.server)
        images = image_urls(unsealed) if edits_images else []
        if self._gateway.reads_images(value["model"]):
            unsealed = await with_images(self._store, project, unsealed)
        files = InputFiles(self._store, project, self._urls, fetched)
        tool_items = [item for item in items if item["type"] in EARLIER]
        return History(await chat_messages(unsealed, files, tools), tool_items, images)

    async def check(self, run: Document, state: RunState, credentials: Credentials | None) -> JSON:
        """Return the moderation of a response that asks for it."""
        extra = run.state["extra"]
        model = extra.get(MODERATION)
        if model is None:
            return {}
        return await moderated(self._gateway, model, extra[INPUT], state.turns, credentials)

    def ending(self, number: int, key: Key, run: Document | None) -> list[NumberedFrame]:
        """Return the response as its last event, or an error."""
        if run is None:
            message = f"Response with id '{key.id}' not found."
            event: JSON = {"type": "error", "code": None, "message": message, "param": None}
        else:
            event = {"type": TERMINAL[run.value["status"]], "response": objects.shown_response(run.value, ())}
        return [NumberedFrame(number, sse({**event, "sequence_number": number}), ends=True)]

    def after_end(self, project: str, run: JSON) -> list[Operation]:
        """Return the delivery of the event that a response in the background has ended."""
        if not run["background"]:
            return []
        return self._webhooks.announce(project, f"response.{run['status']}", run["id"])

    async def newest_output(self, run: Document) -> Document | None:  # noqa: ARG002 - of the protocol
        """Return None: a response is stored with its output."""
        return None

    def missing_delta(self, output: Document, state: RunState) -> ItemDelta | None:  # noqa: ARG002
        """Return None: nothing is written ahead."""
        return None


def _resources(tool: JSON) -> JSON:
    return {"file_search": {"vector_store_ids": tool.get("vector_store_ids") or []}}


def _response_format(format: JSON) -> Any:
    """Return a text format as chat completions have it."""
    match format["type"]:
        case "text":
            return "auto"
        case "json_schema":
            schema = {name: value for name, value in format.items() if name != "type" and value is not None}
            return {"type": "json_schema", "json_schema": schema}
        case _:
            return format
