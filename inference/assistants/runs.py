"""Starts runs of the Assistants API."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference.assistants import objects
from inference.assistants.api import OPTIONS, RESOURCES, AssistantsApi
from inference.assistants.renderer import INCLUDE_RESULTS
from inference.deletion import Deletion
from inference.engine import Engine, RunStart, Started, ToolTypes
from inference.engine.errors import ConversationBusy
from inference.engine.state import ACTIVE_RUN, RunState
from inference.engine.statuses import ENDED
from inference.gateway import CallerSettings, Gateway
from inference.identifiers import new_id
from inference.jobs import Jobs
from inference.limits import MAX_ANSWER
from inference.sealing import Sealer
from persistence.collections import MESSAGES, RUN_STEPS, RUNS
from persistence.store import LOG_LIFETIME, Cancel, Clear, Document, Insert, Key, Replace, Store
from persistence.types import JSON

THREAD_DELETION = "thread_deletion"
"""The kind of the jobs that delete what threads have."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A caller's request for a run.

    `resources` are the run's own `tool_resources`; its tools use the thread's as well. `include_results` says
    whether events show the content of what file_search finds.
    """

    assistant: JSON
    request: JSON
    options: JSON
    resources: JSON
    stream: bool = False
    caller: CallerSettings | None = None
    include_results: bool = False


class Runs:
    """The runs of threads.

    `lifetime` and `log_lifetime` (of a run's events) are in seconds, `max_answer` in bytes.
    """

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        jobs: Jobs,
        tools: ToolTypes | None = None,
        *,
        lifetime: float = objects.LIFETIME,
        log_lifetime: float = LOG_LIFETIME,
        max_answer: int = MAX_ANSWER,
        sealer: Sealer | None = None,
    ) -> None:
        self._store = store
        self.tools = tools or {}
        self._lifetime = lifetime
        self._deletion = Deletion(store, jobs, THREAD_DELETION, (RUNS, MESSAGES), {RUNS: RUN_STEPS})
        api = AssistantsApi(store)
        self.engine = Engine(
            store, gateway, jobs, api, tools, log_lifetime=log_lifetime, max_answer=max_answer, sealer=sealer
        )

    async def start(
        self, thread: Document, request: RunRequest, messages: Sequence[Insert], *, tool_resources: JSON
    ) -> Started:
        """Start a run in a thread as it was read, with messages added before it.

        `tool_resources` become the thread's. ConversationBusy; VersionConflict if the thread was changed
        meanwhile.
        """
        await self.check_free(thread)
        run_id = new_id("run_")
        value = {**thread.value, "tool_resources": tool_resources}
        changed = value if value != thread.value else None
        busy = Replace(thread, value=changed, state={**thread.state, ACTIVE_RUN: run_id})
        return await self._start(run_id, replace(thread, value=value), busy, request, messages)

    async def start_with_thread(
        self, thread: Insert, request: RunRequest, messages: Sequence[Insert] = ()
    ) -> Started:
        """Create a thread with its messages and start a run in it, in one write."""
        run_id = new_id("run_")
        state = {**thread.state, ACTIVE_RUN: run_id}
        busy = Insert(thread.key, thread.value, state, parent=thread.parent)
        document = Document(thread.key, thread.value, state)
        return await self._start(run_id, document, busy, request, messages)

    async def _start(
        self,
        run_id: str,
        thread: Document,
        busy: Insert | Replace,
        request: RunRequest,
        messages: Sequence[Insert],
    ) -> Started:
        run = objects.run_object(
            run_id,
            thread.id,
            request.assistant,
            request.request,
            now=int(time.time()),
            lifetime=self._lifetime,
        )
        extra = {
            INCLUDE_RESULTS: request.include_results,
            OPTIONS: request.options,
            RESOURCES: [request.resources, thread.value["tool_resources"]],
        }
        made: JSON = {"run": run, INCLUDE_RESULTS: request.include_results}
        if isinstance(busy, Insert):
            made["thread"] = thread.value
        start = RunStart(
            Key(thread.key.project, RUNS, run_id),
            thread.id,
            run,
            made,
            RunState(live=request.stream, extra=extra),
            conversation=busy,
            operations=messages,
            caller=request.caller,
        )
        return await self.engine.start(start)

    async def delete_thread(self, thread: Document) -> None:
        """Delete a thread with all it has and end its active run; VersionConflict if it was changed."""
        project, run_id = thread.key.project, thread.state.get(ACTIVE_RUN)
        if run_id is None:
            await self._deletion.delete(thread)
        else:
            end = (Cancel(project, AssistantsApi.kind, run_id), Clear(project, RUN_STEPS, run_id))
            await self._deletion.delete(thread, *end)

    async def check_free(self, thread: Document) -> None:
        """Raise ConversationBusy if the thread has an active run."""
        active = await self.active_run(thread)
        if active is not None:
            raise ConversationBusy(thread.id, active)

    async def active_run(self, thread: Document) -> str | None:
        """Return the id of the thread's active run. Costs a read only where the thread names one."""
        run_id = thread.state.get(ACTIVE_RUN)
        if run_id is None:
            return None
        run = await self._store.get(Key(thread.key.project, RUNS, run_id))
        return None if run is None or run.value["status"] in ENDED else run_id
