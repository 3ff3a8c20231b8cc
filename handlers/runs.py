"""Runs: create (also with a thread), retrieve, modify, list, cancel, submit outputs, follow."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Unpack

from handlers.assistants import OPTIONS, check_definitions
from handlers.assistants_v1 import supports_v1
from handlers.context import Answer, Context, Stream
from handlers.credentials import caller_settings
from handlers.errors import BadRequest
from handlers.mcp_tools import with_servers, without_secrets
from handlers.messages import message_insert
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import check_model, find_assistant, find_run, find_thread, update_metadata
from handlers.run_steps import RESULTS_CONTENT
from handlers.threads import check_thread
from handlers.tool_resources import RequestVectorStores, ToolResources, check_tool_resources
from inference.assistants.runs import RunRequest
from inference.defaults import SAMPLING
from inference.engine import Started
from inference.engine.errors import IllegalTransition
from inference.engine.tools import check_tools
from persistence.collections import RUNS
from persistence.retry import retry_from
from persistence.store import Document
from persistence.types import JSON


@operation("createRun")
@supports_v1
async def create_run(
    context: Context, thread_id: str, body: JSON, include: list[str] | None = None
) -> Answer:
    """Run an assistant on a thread."""
    thread = await find_thread(context, thread_id)
    messages = [
        await message_insert(context, thread_id, message, f"additional_messages[{index}].")
        for index, message in enumerate(body.get("additional_messages") or [])
    ]
    assistant, resources = await _check_run(context, body)
    runs = context.services.runs
    await runs.check_free(thread)
    async with RequestVectorStores(context) as stores:
        request = await _run_request(context, body, assistant, resources, stores, include)

        async def attempt(thread: Document) -> Started:
            reachable = await stores.attach(thread.value["tool_resources"], messages)
            return await runs.start(thread, request, messages, tool_resources=reachable)

        return _answer(await retry_from(thread, partial(find_thread, context, thread_id), attempt))


@operation("createThreadAndRun")
@supports_v1
async def create_thread_and_run(context: Context, body: JSON) -> Answer:
    """Create a thread and run an assistant on it."""
    checked = await check_thread(context, body.get("thread") or {}, "thread.")
    assistant, resources = await _check_run(context, body)
    async with RequestVectorStores(context) as stores:
        thread, messages = await checked.inserts(context, stores)
        request = await _run_request(context, body, assistant, resources, stores)
        return _answer(await context.services.runs.start_with_thread(thread, request, messages))


@operation("getRun")
@supports_v1
async def get_run(context: Context, thread_id: str, run_id: str) -> JSON:
    """Return the run."""
    return (await find_run(context, thread_id, run_id)).value


@operation("modifyRun")
@supports_v1
async def modify_run(context: Context, thread_id: str, run_id: str, body: JSON) -> JSON:
    """Change the metadata, also of an active run."""
    return await update_metadata(context, partial(find_run, context, thread_id, run_id), body)


@operation("listRuns")
@supports_v1
async def list_runs(
    context: Context,
    thread_id: str,
    **page: Unpack[PageQuery],
) -> JSON:
    """Return a page of the thread's runs."""
    await find_thread(context, thread_id)
    return list_page(await read_page(context, RUNS, thread_id, **page))


@operation("cancelRun")
@supports_v1
async def cancel_run(context: Context, thread_id: str, run_id: str) -> JSON:
    """Cancel an active run."""
    run = await find_run(context, thread_id, run_id)
    try:
        return await context.services.runs.engine.cancel(run)
    except IllegalTransition as exc:
        raise BadRequest(f"Cannot cancel run with status '{exc.status}'.") from exc


@operation("submitToolOuputsToRun")
@supports_v1
async def submit_tool_outputs_to_run(context: Context, thread_id: str, run_id: str, body: JSON) -> Answer:
    """Submit the outputs of all calls that a run waits for."""
    run = await find_run(context, thread_id, run_id)
    started = await context.services.runs.engine.submit(
        run,
        _outputs(body["tool_outputs"]),
        stream=bool(body.get("stream")),
        caller=await caller_settings(context),
    )
    return _answer(started)


@operation("getRunEvents")
@supports_v1
async def get_run_events(context: Context, thread_id: str, run_id: str, starting_after: int) -> Stream:
    """Stream the run's events after that number until its end; OpenAI has no such operation."""
    run = await find_run(context, thread_id, run_id)
    return _stream(run.value, await context.services.runs.engine.replay(run, starting_after))


async def _check_run(context: Context, body: JSON) -> tuple[Document, ToolResources | None]:
    """Find the assistant and check what the run has of its own; nothing is written."""
    check_definitions(body)
    assistant = await find_assistant(context, body["assistant_id"])
    check_model(context, body.get("model") or assistant.value["model"])
    tools = assistant.value["tools"] if body.get("tools") is None else body["tools"]
    await check_tools(context.services.runs.tools, context.project, tools)
    if body.get("tool_resources") is None:
        return assistant, None
    return assistant, await check_tool_resources(context, body["tool_resources"])


async def _run_request(
    context: Context,
    body: JSON,
    assistant: Document,
    resources: ToolResources | None,
    stores: RequestVectorStores,
    include: list[str] | None = None,
) -> RunRequest:
    """Make the vector stores that the run asks for; return what the engine needs to know of it."""
    request = {**body, "metadata": body.get("metadata") or {}}
    sent: dict[str, JSON] = {}
    if request.get("tools"):
        request["tools"], sent = without_secrets(request["tools"])
    if resources is not None:
        request["tool_resources"] = await stores.make(resources)
    for name in SAMPLING:
        if body.get(name) is not None:
            request[name] = float(body[name])
    return RunRequest(
        assistant.value,
        request,
        _options(assistant, request),
        request.get("tool_resources") or assistant.value["tool_resources"],
        stream=bool(request.get("stream")),
        caller=with_servers(await caller_settings(context), sent),
        include_results=RESULTS_CONTENT in (include or ()),
    )


def _options(assistant: Document, request: JSON) -> JSON:
    """Return the sampling parameters that were set; no defaults are sent, as some models refuse them."""
    own = {name: request[name] for name in SAMPLING if request.get(name) is not None}
    return {**assistant.state[OPTIONS], **own}


def _outputs(outputs: list[JSON]) -> list[tuple[str, str]]:
    for index, each in enumerate(outputs):
        if "tool_call_id" not in each:
            param = f"tool_outputs[{index}].tool_call_id"
            raise BadRequest(
                f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
            )
    return [(each["tool_call_id"], each.get("output") or "") for each in outputs]


def _stream(run: JSON, events: AsyncIterator[bytes]) -> Stream:
    path = f"/v1/threads/{run['thread_id']}/runs/{run['id']}/events"
    return Stream(
        events,
        f"The run continues; GET {path}?starting_after=N returns its events after the event with id N.",
    )


def _answer(started: Started) -> Answer:
    return started.run if started.events is None else _stream(started.run, started.events)
