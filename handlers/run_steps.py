"""Run steps: retrieve, list."""

from functools import partial
from typing import Unpack

from handlers.assistants_v1 import supports_v1
from handlers.context import Context
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import find_child, find_run
from inference.assistants.objects import without_content
from persistence.collections import RUN_STEPS
from persistence.store import Document, child_id
from persistence.types import JSON

RESULTS_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
"""The only value of `include`: the content of file_search results, which is left out otherwise."""


@operation("getRunStep")
@supports_v1
async def get_run_step(
    context: Context, thread_id: str, run_id: str, step_id: str, include: list[str] | None = None
) -> JSON:
    """Return the step."""
    await find_run(context, thread_id, run_id)
    return shown_step(await find_child(context, RUN_STEPS, run_id, step_id, "run step"), include)


@operation("listRunSteps")
@supports_v1
async def list_run_steps(
    context: Context,
    thread_id: str,
    run_id: str,
    include: list[str] | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """Return a page of the run's steps."""
    await find_run(context, thread_id, run_id)
    found = await read_page(
        context,
        RUN_STEPS,
        run_id,
        to_id=partial(child_id, run_id),
        **page,
    )
    return list_page(found, lambda step: shown_step(step, include))


def shown_step(step: Document, include: list[str] | None) -> JSON:
    """Return the step, with the content of file_search results only if that was asked for."""
    details = step.value["step_details"]
    if details["type"] != "tool_calls" or RESULTS_CONTENT in (include or ()):
        return step.value
    calls = [without_content(call) for call in details["tool_calls"]]
    return {**step.value, "step_details": {**details, "tool_calls": calls}}
