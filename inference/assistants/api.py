"""What the engine needs of the Assistants API."""

from inference.assistants import objects
from inference.assistants.history import read_history, shown_urls
from inference.assistants.renderer import DONE, INCLUDE_RESULTS, AssistantsRenderer, Frame, numbered
from inference.engine.events import ItemDelta
from inference.engine.feeds import NumberedFrame
from inference.engine.items import Message
from inference.engine.renderer import Renderer
from inference.engine.state import History, RunState, Settings
from inference.engine.tools import tool_entry
from inference.gateway import Credentials
from inference.image_generation.tool import TYPE as IMAGE_GENERATION
from persistence.collections import MESSAGES, RUNS, THREADS
from persistence.store import Document, Key, Store
from persistence.types import JSON

OPTIONS = "options"
"""A run's own state: the sampling parameters that were set, as chat completions name them."""

RESOURCES = "resources"
"""A run's own state: the `tool_resources` of its assistant and of its thread."""


class AssistantsApi:
    """Runs are runs, conversations are threads, items are messages and run steps."""

    kind = "run"
    runs = RUNS
    calls_end_runs = False
    outlives_conversation = False
    ends_with_mark = True

    def __init__(self, store: Store) -> None:
        self._store = store

    def conversation(self, run: Document) -> Key:
        """Return the key of the run's thread."""
        return Key(run.key.project, THREADS, run.parent)

    def renderer(self, project: str, run: JSON, state: RunState) -> Renderer:
        """Return the renderer of a run as it is stored."""
        return AssistantsRenderer(project, run, state)

    def replay(self, project: str, objects: JSON) -> tuple[RunState, Renderer]:
        """Return state and renderer for a log from its first event on."""
        state = RunState(extra={INCLUDE_RESULTS: objects[INCLUDE_RESULTS]})
        return state, AssistantsRenderer(project, objects["run"], state)

    def move(self, run: JSON, status: str, at: int) -> JSON:
        """Return the run in another status."""
        return objects.moved(run, status, at)

    def settings(self, run: Document) -> Settings:
        """Return what a run asks of its model."""
        value, extra = run.value, run.state["extra"]
        return Settings(
            model=value["model"],
            instructions=value["instructions"],
            expires_at=value["expires_at"] or 0,
            tools=[*map(tool_entry, value["tools"])],
            resources=tuple(extra[RESOURCES]),
            options=extra[OPTIONS],
            tool_choice=value["tool_choice"],
            parallel_tool_calls=value["parallel_tool_calls"],
            response_format=value["response_format"],
            reasoning_effort=value["reasoning_effort"],
            max_completion_tokens=value["max_completion_tokens"],
            max_prompt_tokens=value["max_prompt_tokens"],
        )

    async def history(self, run: Document, window: int) -> History:
        """Return the thread's messages as chat messages."""
        messages = await read_history(self._store, run.value, run.key.project, window)
        edits_images = any(tool["type"] == IMAGE_GENERATION for tool in run.value["tools"])
        return History(messages, images=[*shown_urls(messages)] if edits_images else [])

    async def check(self, *_: Document | RunState | Credentials | None) -> JSON:
        """Return nothing: runs have no checks."""
        return {}

    def ending(self, number: int, key: Key, run: Document | None) -> list[NumberedFrame]:
        """Return the run's object as its last event, or an error, and `done`."""
        if run is None:
            message = f"No run found with id '{key.id}'."
            error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
            ending: Frame = ("error", {**error, "error": error})
        else:
            ending = (f"thread.run.{run.value['status']}", run.value)
        return numbered([ending, (DONE, None)], number)

    def after_end(self, project: str, run: JSON) -> tuple[()]:  # noqa: ARG002 - of the protocol
        """Return nothing: webhooks have no events of runs."""
        return ()

    async def newest_output(self, run: Document) -> Document | None:
        """Return the newest message of the run."""
        label = objects.run_label(run.id)
        page = await self._store.page(run.key.project, MESSAGES, run.parent, label=label, limit=1)
        # A list may show an older state of an object, or a deleted one.
        return await self._store.get(page.documents[0].key) if page.documents else None

    def missing_delta(self, output: Document, state: RunState) -> ItemDelta | None:
        """Return the text that a message has and the state lacks."""
        message = output.value
        item = state.turns[-1].item(message["id"])
        if not isinstance(item, Message):
            return None
        for part in message["content"]:
            if part["type"] == "text":
                text, annotations = part["text"]["value"], part["text"]["annotations"]
                if len(text) > item.text.length:
                    new = annotations[len(item.annotations) :]
                    return ItemDelta(item.id, text[item.text.length :], annotations=new)
            elif part["type"] == "refusal" and len(part["refusal"]) > item.refusal.length:
                return ItemDelta(item.id, part["refusal"][item.refusal.length :], "refusal")
        return None
