"""Does the work of a run's job: drives one leg of the run from the state it is in to its rest."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from inference import tokens
from inference.errors import (
    InferenceError,
    ProviderError,
    ProviderLimited,
    ProviderRejected,
)
from inference.gateway import Gateway
from inference.jobs import Held
from inference.runs import transitions
from inference.runs.ahead import read_ahead
from inference.runs.conversation import Conversation, LimitReached, read_history
from inference.runs.errors import RunGone, ToolUnavailable
from inference.runs.feed import Feeds
from inference.runs.recovery import Leg, recover
from inference.runs.state import LIVE, OPTIONS, RESOURCES, TURNS, turns_of
from inference.runs.tools import ServerTool, ToolFactories, Workplace
from inference.runs.turns import FUNCTION, converse
from persistence.store import Finish, Operation, Reschedule, Store

JSON = dict[str, Any]


class Worker:
    """Takes runs forward; everything that it needs of a run is in the store or in its leg."""

    def __init__(self, store: Store, gateway: Gateway, feeds: Feeds, tools: ToolFactories) -> None:
        self._store = store
        self._gateway = gateway
        self._feeds = feeds
        self._tools = tools

    async def work(self, held: Held, leg: Leg | None) -> None:
        """Drive a run to its rest; `leg` is given where this process has its documents at hand."""
        leg = leg or await recover(self._store, self._feeds, held)
        if leg is None:
            await self._store.write(Finish(held.job))
            return
        try:
            await leg.ledger.flush(await self._drive(leg, held))
        except RunGone:
            await self._store.write(Finish(held.job))

    async def _drive(self, leg: Leg, held: Held) -> Operation:
        """Bring the run as far as it gets, and say what becomes of its job."""
        run, renderer = leg.run.value, leg.renderer
        if run["status"] in transitions.ENDED:
            renderer.release_thread()
        elif run["status"] == "cancelling":
            leg.ledger.tell("thread.run.cancelling", run)
            renderer.end("cancelled")
        elif run["expires_at"] <= time.time():
            renderer.end("expired")
        elif run["status"] == "requires_action":
            return Reschedule(held.job, due=run["expires_at"])
        else:
            await self._advance(leg)
            if leg.run.value["status"] == "requires_action":
                return Reschedule(held.job, due=run["expires_at"])
        return Finish(held.job)

    async def _advance(self, leg: Leg) -> None:
        """Talk to the model until the run has to rest, whatever comes of it."""
        run, renderer = leg.run.value, leg.renderer
        renderer.cut_off()
        if run["status"] == "queued":
            renderer.move("in_progress")
        try:
            async with asyncio.timeout(run["expires_at"] - time.time()) as lifetime:
                await self._converse(leg)
        except TimeoutError:
            if not lifetime.expired():
                raise
            if leg.run.value["status"] == "in_progress":  # else it came to rest just in time
                renderer.end("expired")
        except LimitReached as exc:
            renderer.end("incomplete", incomplete_details={"reason": exc.reason})
        except RunGone:
            raise
        except InferenceError as exc:
            renderer.end("failed", last_error=last_error(exc))

    async def _converse(self, leg: Leg) -> None:
        """Take turns with the model."""
        run, state = leg.run.value, leg.run.state
        project = leg.run.key.project
        turns = turns_of(state)
        async with _telling(leg):
            window = self._gateway.context_window(run["model"])
            history = await read_history(self._store, run, project, window)
            tools = await self._make_tools(leg)
            talk = Conversation(run, state[OPTIONS], history, tools, window, tokens.count)

            def ask(request: JSON) -> AsyncGenerator[JSON, None]:
                return read_ahead(self._gateway.chunks(request, leg.credentials))

            async with aclosing(converse(ask, talk.compose, tools, turns)) as events:
                async for event in events:
                    await leg.renderer.take(event)

    async def _make_tools(self, leg: Leg) -> dict[str, tuple[str, ServerTool]]:
        """The server's tools of this run, by the name of their function."""
        run, state = leg.run.value, leg.run.state
        made = {}
        for tool in run["tools"]:
            if tool["type"] == FUNCTION:
                continue
            factory = self._tools.get(tool["type"])
            if factory is None:
                raise ToolUnavailable(tool["type"])
            calls = (call for turn in state[TURNS] for call in turn["calls"])
            results = tuple(call["details"] for call in calls if call["tool"] == tool["type"])
            workplace = Workplace(
                leg.run.key.project, run["id"], run["model"], tool, tuple(state[RESOURCES]), results
            )
            server_tool = await factory(workplace)
            made[server_tool.definition()["function"]["name"]] = (tool["type"], server_tool)
        return made


@asynccontextmanager
async def _telling(leg: Leg) -> AsyncIterator[None]:
    """Write what is queued: in a live leg as it comes, beside the talk; else once, at the start."""
    if leg.run.state[LIVE]:
        async with leg.ledger.writing_text():
            yield
    else:
        await leg.ledger.flush()
        yield


def last_error(exc: InferenceError) -> JSON:
    """What a run that failed says of it."""
    message = exc.message if isinstance(exc, ProviderError) else str(exc)
    code = "server_error"
    if isinstance(exc, ProviderLimited):
        code = "rate_limit_exceeded"
    elif isinstance(exc, ProviderRejected) and exc.status in (400, 413, 422):
        code = "invalid_prompt"
    return {"code": code, "message": message}
