"""One worker's attempt at a run, from the start of its job until the run ends or waits for its caller."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from inference import tokens
from inference.engine.compaction import Compactor
from inference.engine.errors import RunGone, ToolUnavailable
from inference.engine.events import (
    COMPACTED,
    INTERRUPTED,
    OPENED,
    Event,
    ItemFinished,
    RunMoved,
    TurnFinished,
)
from inference.engine.items import ToolList
from inference.engine.kept_settings import KEPT
from inference.engine.opening import opening_turn
from inference.engine.renderer import Api
from inference.engine.requests import LimitReached, RequestBuilder
from inference.engine.state import History, RunState, Settings
from inference.engine.statuses import ENDED, SETTLED
from inference.engine.tools import Tool, Toolbox, ToolContext, ToolTypes
from inference.engine.turns import CUT_SHORT, SendRequest, run_turns
from inference.engine.unit_of_work import UnitOfWork
from inference.engine.unstored import UnstoredWork
from inference.errors import InferenceError, ProviderError, ProviderLimited, ProviderRejected
from inference.gateway import CallerSettings, Credentials, Gateway
from inference.limits import MAX_ANSWER
from persistence.errors import StoreError
from persistence.types import JSON

FUNCTION = "function"


CAUSE = "cause"
"""The member of a run's error that has the provider's own code; not every API shows it."""

BROKEN = {"code": "server_error", "message": "The server had an error while it ran this run."}

Keep = Callable[[CallerSettings | None], JSON]
"""Returns the part of a run's state that keeps what its caller cannot send again, sealed."""

SLICE = 32
"""Events after which other tasks get their turn, however fast a provider is."""

log = structlog.get_logger("astrolabe.engine")


@dataclass(slots=True)
class RequestWatch:
    """What a handler in the process of a run sees of its requests to the model.

    `is_silent` is set where a provider is slow to begin, `failure` is the error with which the run failed.
    """

    is_silent: asyncio.Event = field(default_factory=asyncio.Event)
    failure: InferenceError | None = None


class RunAttempt:
    """Runs the model and its tools until the run settles."""

    def __init__(
        self,
        gateway: Gateway,
        tools: ToolTypes,
        api: Api,
        work: UnitOfWork | UnstoredWork,
        open_caller: Callable[[], CallerSettings | None],
        max_answer: int = MAX_ANSWER,
        history: History | None = None,
        watch: RequestWatch | None = None,
        keep: Keep = lambda _: {},
    ) -> None:
        self._max_answer = max_answer
        self._history = history
        self._watch = watch or RequestWatch()
        self._keep = keep
        self._kept: JSON = {}
        self._gateway = gateway
        self._tools = tools
        self._api = api
        self._work = work
        self._open_caller = open_caller
        self._settings: Settings = api.settings(work.run.document)

    @property
    def _state(self) -> RunState:
        return self._work.recorder.state

    async def run(self) -> None:
        """Advance the run until it settles; write the last events together with the end of its job."""
        due = await self._advance()
        run = self._work.recorder.renderer.run
        ending = self._api.after_end(self._work.run.key.project, run) if due is None else ()
        await self._work.finish(due, *ending)

    async def _advance(self) -> float | None:
        """Advance the run; return when its job is due again, None if the run has ended."""
        state = self._state
        if state.status in ENDED:
            self._work.release_conversation()
        elif state.status == "cancelling":
            self._work.record(RunMoved("cancelling", _now()))
            self.end("cancelled")
        elif self._settings.expires_at <= time.time():
            self.end("expired")
        elif state.status != "requires_action":
            await self._take_turns()
        if state.status == "requires_action":
            return self._settings.expires_at
        return None

    async def _take_turns(self) -> None:
        """Take turns with the model until the run settles; an error ends the run."""
        self._close_interrupted()
        if self._state.status == "queued":
            self._work.record(RunMoved("in_progress", _now()))
        if not self._settings.asks_model:
            self.end("completed")
            return
        try:
            async with asyncio.timeout(self._settings.expires_at - time.time()) as lifetime:
                await self._ask_model()
        except TimeoutError:
            if not lifetime.expired():
                raise
            if self._state.status not in SETTLED:  # else it settled just in time
                self.end("expired")
        except LimitReached as exc:
            self.end("incomplete", reason=exc.reason)
        except (RunGone, StoreError):
            raise
        except InferenceError as exc:
            self._watch.failure = exc
            self._fail(last_error(exc))
        except Exception:
            # A bug or an unforeseen answer of a provider: another attempt would fail in the same way.
            log.exception("run_broken", run=self._work.run.key.id)
            self._fail(BROKEN)

    async def _ask_model(self) -> None:
        """Ask the model until it has no more calls for the server's tools."""
        async with self._writing():
            caller = self._open_caller()
            credentials = None if caller is None else caller.for_chat
            builder = await self._builder(caller)
            self._kept = self._keep(caller)
            async with aclosing(builder.tools):
                await self._record_turns(builder, credentials)

    async def _record_turns(self, builder: RequestBuilder, credentials: Credentials | None) -> None:
        """Record the events of the run's turns."""

        def send(request: JSON) -> AsyncGenerator[list[JSON], None]:
            silent, conversation = self._watch.is_silent.set, self._conversation
            return self._gateway.batches(request, credentials, silent, conversation)

        recorded = 0
        async with aclosing(self._turns(send, builder)) as turns:
            async for event in turns:
                if isinstance(event, TurnFinished) and self._ends_run(event):
                    checks = await self._api.check(self._work.run.document, self._state, credentials)
                    event = replace(event, checks=checks)  # noqa: PLW2901 - the same event, completed
                self._work.record(event)
                if isinstance(event, TurnFinished):
                    self._settle(event)  # before anything of the turn's end can be written
                    if self._state.status not in SETTLED:
                        await self._work.flush()
                recorded += 1
                if recorded % SLICE == 0:
                    await asyncio.sleep(0)

    @property
    def _conversation(self) -> str:
        """The id of what the run continues: a thread, a conversation or a chain of responses; "" for none."""
        document = self._work.run.document
        conversation = self._api.conversation(document)
        if conversation is not None:
            return conversation.id
        return document.parent if isinstance(self._work, UnitOfWork) else ""

    async def first_request(self) -> JSON:
        """Return the first request that the run would send to its model."""
        builder = await self._builder(self._open_caller())
        async with aclosing(builder.tools):
            return await builder.build()

    async def _builder(self, caller: CallerSettings | None) -> RequestBuilder:
        window = self._gateway.context_window(self._settings.model)
        history, self._history = self._history, None  # it may be long, so it is not kept
        if history is None:
            history = await self._api.history(self._work.run.document, window)
        tools = await self._make_tools(caller, history)
        return RequestBuilder(self._settings, self._state, history.messages, tools, window, tokens.count)

    def _turns(self, send: SendRequest, builder: RequestBuilder) -> AsyncGenerator[Event, None]:
        """Return the events of the run's turns: as many as it needs, or the one of its compaction."""
        compact = Compactor(send, builder, self._max_answer).turn
        if self._ends_by_compaction:
            return compact()
        opening = partial(
            opening_turn, self._settings, self._state, builder.tools, is_taken_over=self._work.is_taken_over
        )
        return run_turns(
            send,
            builder.build,
            builder.tools,
            self._state,
            self._max_answer,
            compact,
            opening,
            self._settings.max_tool_calls,
        )

    @property
    def _ends_by_compaction(self) -> bool:
        rule = self._settings.compaction
        return rule is not None and rule.ends_run

    def _ends_run(self, turn: TurnFinished) -> bool:
        """Return whether the run ends with the turn, which is not recorded yet."""
        if turn.finish in CUT_SHORT:
            return True
        calls = self._state.turns[-1].calls
        waits = bool(self._state.pending)
        return turn.finish not in (COMPACTED, OPENED) and (not calls or (waits and self._api.calls_end_runs))

    def _settle(self, turn: TurnFinished) -> None:
        """Move the run to the status in which the turn leaves it, if it settles."""
        if turn.finish == OPENED or (turn.finish == COMPACTED and not self._ends_by_compaction):
            return
        now = _now()
        if turn.finish in CUT_SHORT:
            reason = "max_completion_tokens" if turn.finish == "length" else None
            self._work.record(RunMoved("incomplete", now, reason=reason))
        elif self._state.pending and not self._api.calls_end_runs:
            self._state.extra |= self._kept
            self._work.record(RunMoved("requires_action", now))
        elif self._state.pending or not self._state.turns[-1].calls:
            self._work.record(RunMoved("completed", now))

    def _fail(self, error: JSON) -> None:
        run = self._work.run.key
        log.warning("run_failed", run=run.id, model=self._settings.model, error=error["message"])
        self.end("failed", error=error)

    def end(self, status: str, *, error: JSON | None = None, reason: str | None = None) -> None:
        """End the run and its open items; a turn that no client has seen is dropped."""
        self._work.recorder.discard()
        self._state.extra.pop(KEPT, None)
        turn = self._state.turn
        for item in turn.open if turn is not None else ():
            self._work.record(ItemFinished(item.id, status, _now(), error=error))
        self._work.record(RunMoved(status, _now(), error, reason))

    def _close_interrupted(self) -> None:
        """Close the items that a crashed worker left open; they keep what clients saw of them.

        A turn with a finished message continues, so that clients do not get the message twice.
        """
        turn = self._state.turn
        if turn is None:
            return
        for item in turn.open:
            self._work.record(ItemFinished(item.id, INTERRUPTED, _now()))
        if not turn.finished_messages:
            self._work.record(TurnFinished(INTERRUPTED, _now()))

    async def _make_tools(self, caller: CallerSettings | None, history: History) -> Toolbox:
        """Make the server's tools of this run."""
        entries = [tool for tool in self._settings.tools if tool["type"] != FUNCTION]
        for entry in entries:
            if entry["type"] not in self._tools:
                raise ToolUnavailable(entry["type"])
        contexts = [self._context(entry, caller, history) for entry in entries]
        making = (self._tools[each.tool["type"]].make(each) for each in contexts)
        results = await asyncio.gather(*making, return_exceptions=True)
        made = [
            (entry["type"], tool)
            for entry, tool in zip(entries, results, strict=True)
            if isinstance(tool, Tool)
        ]
        failed = next((each for each in results if isinstance(each, BaseException)), None)
        if failed is not None:
            await Toolbox(made).aclose()
            raise failed
        return Toolbox(made)

    def _context(
        self, tool: Mapping[str, Any], caller: CallerSettings | None, history: History
    ) -> ToolContext:
        calls = [call for turn in self._state.turns for call in turn.calls]
        results = tuple(call.details for call in calls if call.type == f"{tool['type']}_call")
        run = self._work.run.key
        return ToolContext(
            run.project,
            run.id,
            self._settings.model,
            dict(tool),
            self._settings.resources,
            results,
            caller,
            self._conversation,
            (*history.tool_items, *self._own_lists()),
            tuple(history.images),
            isinstance(self._work, UnitOfWork),
            history.messages,
        )

    def _own_lists(self) -> Iterator[JSON]:
        """Yield the lists of tools that the run has shown."""
        for item in (item for turn in self._state.turns for item in turn.items):
            if isinstance(item, ToolList):
                yield {"type": item.type, **item.details}

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Write a live run's events while the body runs; any other run is written once, before it."""
        if self._state.live:
            async with self._work.writing():
                yield
        else:
            await self._work.flush()
            yield


def last_error(exc: InferenceError) -> JSON:
    """Return the error of a run that fails with `exc`."""
    message = exc.message if isinstance(exc, ProviderError) else str(exc)
    code = "server_error"
    if isinstance(exc, ProviderLimited):
        code = "rate_limit_exceeded"
    elif isinstance(exc, ProviderRejected) and exc.status in (400, 413, 422):
        code = "invalid_prompt"
    cause = exc.body.get("code") if isinstance(exc, ProviderError) else None
    error = {"code": code, "message": message}
    return {**error, CAUSE: cause} if isinstance(cause, str) else error


def _now() -> int:
    return int(time.time())
