"""What a response repeats of its request, and what its provider says of it."""

import json

import pytest

from inference.gateway import Gateway
from inference.responses.chat import chat_messages
from inference.responses.functions import definition
from inference.responses.items import stored_items
from persistence.store import Store
from tests.inference.engine.process import script
from tests.inference.responses.test_chat import Files
from tests.inference.responses.worker import parsed, worker

MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}


@pytest.mark.parametrize("tier", ["flex", "priority"])
async def test_a_response_has_the_service_tier_that_its_provider_names(
    store: Store, gateway: Gateway, tier: str
) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": tier}
    chunk["choices"] = [{"index": 0, "delta": {"content": "Aye."}, "finish_reason": "stop"}]
    turn = {"raw": f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", "content_type": "text/event-stream"}
    async with worker(store, gateway) as one:
        response = await one.create(script(turn), service_tier="auto")
        assert response["service_tier"] == tier
        assert (await one.get(response["id"]))["service_tier"] == tier
        events = parsed(b"".join([piece async for piece in await one.stream(script(turn))]))
        assert events[-1]["response"]["service_tier"] == tier


async def test_a_response_repeats_what_the_edition_has_it_repeat(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        sent = {"safety_identifier": "u1", "prompt_cache_key": "k", "user": "u", "max_tool_calls": 3}
        response = await one.create("Hi.", **sent, prompt_cache_options={"mode": "explicit"})
        assert {name: response[name] for name in sent} == sent
        assert response["prompt_cache_options"] == {"mode": "explicit", "ttl": "30m"}
        assert response["service_tier"] == "default"


async def test_a_breakpoint_stays_at_its_part() -> None:
    parts = [{"type": "input_text", "text": "Rules.", **MARK}, {"type": "input_text", "text": "More."}]
    (message,) = await chat_messages(
        stored_items([{"role": "user", "content": parts}], lambda prefix: f"{prefix}1"), Files(), None
    )
    assert message["content"] == [
        {"type": "text", "text": "Rules.", **MARK},
        {"type": "text", "text": "More."},
    ]


def test_a_function_keeps_the_form_of_its_output() -> None:
    tool = {"type": "function", "name": "look", "output_schema": {"type": "string"}}
    assert definition(tool, "look")["function"] == {"name": "look", "output_schema": {"type": "string"}}
