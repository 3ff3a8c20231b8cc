"""Compaction: when a context is summarized, what the model reads then, and what survives."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers import response_compact, responses
from handlers.errors import ApiError, BadRequest
from inference.gateway import Gateway
from inference.responses.items import ItemRefused
from inference.responses.memory import ConnectionMemory
from inference.responses.sealing import ItemSealer
from persistence.store import Store
from persistence.types import JSON
from tests.contract.engines import ENGINES
from tests.inference.engine.conftest import Asked, asked
from tests.inference.engine.mortal import MortalStore
from tests.inference.engine.process import script
from tests.inference.responses.worker import Worker, parsed, types, worker

__all__ = ["asked"]

LEASE = 0.4
HOW = ("before", "after")
TRIGGER = {"type": "compaction_trigger"}
MANAGED: JSON = {"context_management": [{"type": "compaction", "compact_threshold": 1000}]}
LONG = "The sea is green today, and the gulls are loud. " * 300
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}


@pytest.fixture
async def one(store: Store, gateway: Gateway) -> AsyncIterator[Worker]:
    async with worker(store, gateway) as one:
        yield one


def said_by_system(tag: str, turn: JSON) -> JSON:
    """A developer's message with the script, which every request has until it is compacted, and after."""
    return {"role": "developer", "content": script(turn, tag=tag)}


def user(text: str) -> JSON:
    return {"role": "user", "content": text}


async def compact(one: Worker, input: Any, project: str = "p", **fields: Any) -> JSON:
    body = {"model": "m", "input": input, **fields}
    return await response_compact.compact_conversation(one.context(project), body)


def contents(body: JSON) -> list[tuple[str, str]]:
    return [(message["role"], json.dumps(message["content"])) for message in body["messages"]]


# --- on demand ---


async def test_a_compacted_context_is_one_item_that_stands_for_it_on_any_worker(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    system = said_by_system(asked.tag, {"text": "Requests: SUMMARY"})
    items = [system, user("Remember 42."), {"role": "assistant", "content": "I do."}, user("And 43.")]
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        compacted = await compact(one, items)
        *said, item = compacted["output"]
        assert [message["content"][0]["text"] for message in said] == ["Remember 42.", "And 43."]
        assert item.keys() == {"id", "type", "encrypted_content"}
        assert (compacted["object"], item["type"]) == ("response.compaction", "compaction")
        assert compacted["usage"]["total_tokens"] > 0
        assert "SUMMARY" not in json.dumps(compacted)
        await other.create([item, user("Go on.")], store=False)
    summarized, continued = map(contents, asked.all())
    assert [role for role, _ in summarized] == ["system", "user", "assistant", "user", "user"]
    assert "summary of the conversation" in summarized[-1][1]
    assert [role for role, _ in continued] == ["system", "user", "user"]
    assert continued[0] == summarized[0]
    assert "SUMMARY" in continued[1][1]
    assert "42" not in json.dumps(continued[1:])


async def test_compact_reads_a_stored_chain_and_stores_nothing(
    one: Worker, store: Store, asked: Asked
) -> None:
    first = await one.create([said_by_system(asked.tag, {"text": "x"}), user("Remember 42.")])
    before = [place async for place, _ in store.export()]
    compacted = await compact(one, None, previous_response_id=first["id"])
    assert [item["type"] for item in compacted["output"]] == ["message", "compaction"]
    assert "Remember 42." in json.dumps(asked.all()[-1]["messages"])
    assert [place async for place, _ in store.export()] == before


async def test_calls_in_a_compacted_context_have_their_tools_and_none_is_called(
    one: Worker, asked: Asked
) -> None:
    items = [
        said_by_system(asked.tag, {"text": "Done: it is sunny."}),
        user("Weather?"),
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    await compact(one, items)
    (request,) = asked.all()
    assert request["tool_choice"] == "none"
    assert [tool["function"]["name"] for tool in request["tools"]] == ["get_weather"]


async def test_a_compaction_without_a_summary_is_an_error(one: Worker, asked: Asked) -> None:
    with pytest.raises(ApiError, match="no summary") as raised:
        await compact(one, [said_by_system(asked.tag, {"text": ""}), user("x")])
    assert raised.value.status == 502


# --- by a trigger ---


@pytest.mark.parametrize("store", ENGINES, indirect=True)
@pytest.mark.parametrize("stored", [True, False])
async def test_a_trigger_is_answered_by_one_compaction_item(one: Worker, asked: Asked, stored: bool) -> None:
    system = said_by_system(asked.tag, {"text": "Requests: " + "much " * 30, "reasoning": "Hm."})
    frames = await one.stream([system, user("Hi."), TRIGGER], store=stored, tools=[WEATHER])
    events = parsed(b"".join([piece async for piece in frames]))
    assert types(events) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.completed",
    ]
    response = events[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["compaction"]
    assert events[-2]["item"] == response["output"][0]
    assert response["usage"]["output_tokens"] > 0
    if stored:
        assert parsed(await one.frames(response["id"])) == events


@pytest.mark.parametrize("store", ENGINES, indirect=True)
async def test_a_chain_goes_on_from_its_compaction(one: Worker, asked: Asked) -> None:
    says = {"text": "Requests: SUMMARY"}
    first = await one.create([said_by_system(asked.tag, says), user("Remember 42.")])
    middle = await one.create([TRIGGER], previous_response_id=first["id"])
    await one.create("Go on.", previous_response_id=middle["id"])
    last = contents(asked.all()[-1])
    assert [role for role, _ in last] == ["system", "user", "user"]
    assert "SUMMARY" in last[1][1]
    assert "42" not in json.dumps(last[1:])


async def test_a_conversation_goes_on_from_its_compaction(one: Worker, asked: Asked) -> None:
    conversation = await one.conversation()
    says = {"text": "Requests: SUMMARY"}
    items = [said_by_system(asked.tag, says), user("Remember 42.")]
    await one.create(items, conversation=conversation)
    await one.create([TRIGGER], conversation=conversation)
    await one.create("Go on.", conversation=conversation)
    last = contents(asked.all()[-1])
    assert [role for role, _ in last] == ["system", "user", "user"]
    assert [item["type"] for item in await one.items(conversation)] == [
        *["message"] * 3,
        "compaction",
        *["message"] * 2,
    ]


async def test_an_item_from_before_a_compaction_cannot_be_added_again(one: Worker, asked: Asked) -> None:
    conversation = await one.conversation()
    says = {"text": "Requests: SUMMARY"}
    items = [said_by_system(asked.tag, says), {**user("Remember 42."), "id": "msg_mine"}]
    await one.create(items, conversation=conversation)
    await one.create([TRIGGER], conversation=conversation)
    with pytest.raises(ItemRefused, match="Duplicate item found with id msg_mine"):
        await one.create([{**user("And 43."), "id": "msg_mine"}], conversation=conversation)


async def test_what_a_client_kept_before_a_compaction_stays(one: Worker, asked: Asked) -> None:
    system = said_by_system(asked.tag, {"text": "Requests: SUMMARY"})
    item = (await compact(one, [system, user("Remember 42."), user("And 43.")]))["output"][-1]
    await one.create([user("Remember 42."), system, item, user("Go on.")], store=False)
    last = contents(asked.all()[-1])
    assert [role for role, _ in last] == ["user", "system", "user", "user"]
    assert "SUMMARY" in last[2][1]


async def test_what_a_client_did_not_prune_is_not_read_again(one: Worker, asked: Asked) -> None:
    system = said_by_system(asked.tag, {"text": "Requests: SUMMARY"})
    items = [system, user("Remember 42."), {"role": "assistant", "content": "I do."}]
    item = (await compact(one, items))["output"][-1]
    await one.create([*items, item, user("Go on.")], store=False)
    assert [role for role, _ in contents(asked.all()[-1])] == ["system", "user", "user"]


async def test_a_connection_remembers_from_its_compaction_on(one: Worker, asked: Asked) -> None:
    memory = ConnectionMemory()
    says = {"text": "Requests: SUMMARY"}

    async def create(input: Any, previous: JSON | None = None) -> JSON:
        body = {"model": "m", "input": input, "store": False}
        body |= {"previous_response_id": previous["id"]} if previous else {}
        answer = await responses.create_response(one.context(connection=memory), body)
        assert isinstance(answer, dict)
        return answer

    first = await create([said_by_system(asked.tag, says), user("Remember 42.")])
    middle = await create([TRIGGER], first)
    await create([user("Go on.")], middle)
    assert [role for role, _ in contents(asked.all()[-1])] == ["system", "user", "user"]
    kept = memory.get(middle["id"])
    assert kept is not None
    assert [item["type"] for item in kept] == ["compaction"]


@pytest.mark.parametrize("of", ["another project", "a lost key"])
async def test_a_compaction_that_cannot_be_read_is_left_out_and_what_was_before_is_read(
    store: Store, gateway: Gateway, asked: Asked, of: str
) -> None:
    system = said_by_system(asked.tag, {"text": "Requests: SUMMARY"})
    items = [system, user("Remember 42."), {"role": "assistant", "content": "I do."}]
    sealer = ItemSealer(store, ("an-operators-secret",)) if of == "a lost key" else None
    async with worker(store, gateway, item_sealer=sealer) as one, worker(store, gateway) as other:
        project = "q" if of == "another project" else "p"
        item = (await compact(one, items, project))["output"][-1]
        await other.create([*items, item, user("Go on.")])
    last = contents(asked.all()[-1])
    assert [role for role, _ in last] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("input", "param"),
    [([TRIGGER, user("x")], "input[0]"), ([user("x"), TRIGGER, TRIGGER], "input[1]")],
)
async def test_a_trigger_must_be_the_last_item(one: Worker, input: list[JSON], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await one.create(input)
    assert caught.value.param == param


# --- by a threshold ---


async def test_a_context_over_its_threshold_is_compacted_before_the_answer(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    system = said_by_system(asked.tag, {"text": "Requests: SUMMARY"})
    items = [system, user(LONG), {"role": "assistant", "content": "I see."}]
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        frames = await one.stream([*items, user("Is it green?")], **MANAGED, max_output_tokens=50)
        events = parsed(b"".join([piece async for piece in frames]))
        response = events[-1]["response"]
        assert [item["type"] for item in response["output"]] == ["compaction", "message"]
        assert [event["output_index"] for event in events if event["type"].endswith("item.added")] == [0, 1]
        assert parsed(await other.frames(response["id"])) == events
        await other.create("And now?", previous_response_id=response["id"], **MANAGED)
    summary, answer, later = asked.all()
    assert "max_completion_tokens" not in summary
    assert answer["max_completion_tokens"] == 50
    assert LONG in json.dumps(summary["messages"])
    assert "Is it green?" not in json.dumps(summary["messages"])
    for request in (answer, later):
        assert LONG not in json.dumps(request["messages"])
        assert "SUMMARY" in json.dumps(request["messages"])
        assert "Is it green?" in json.dumps(request["messages"])
    assert [message["role"] for message in answer["messages"]] == ["system", "user"]
    assert [message["role"] for message in later["messages"]] == ["system", "user", "assistant", "user"]


async def test_a_context_below_its_threshold_is_left_as_it_is(one: Worker, asked: Asked) -> None:
    response = await one.create([said_by_system(asked.tag, {"text": "x"}), user("short")], **MANAGED)
    assert [item["type"] for item in response["output"]] == ["message"]
    assert len(asked.all()) == 1


async def test_one_long_message_is_not_summarized_but_answered(one: Worker, asked: Asked) -> None:
    response = await one.create([said_by_system(asked.tag, {"text": "x"}), user(LONG)], **MANAGED)
    assert [item["type"] for item in response["output"]] == ["message"]


async def test_a_context_that_grows_by_an_output_is_compacted_with_it(one: Worker, asked: Asked) -> None:
    system = said_by_system(asked.tag, {"text": "Sunny."})
    asks = user(script({"calls": [CALL]}, {"text": "Done: SUMMARY"}, tag=asked.tag))
    first = await one.create([system, asks], tools=[WEATHER], tool_choice="required", **MANAGED)
    (call,) = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": LONG}
    second = await one.create([output], previous_response_id=first["id"], tools=[WEATHER], **MANAGED)
    assert [item["type"] for item in second["output"]] == ["compaction", "message"]
    answer = asked.all()[-1]
    assert [message["role"] for message in answer["messages"]] == ["system", "user"]
    await one.create("And now?", previous_response_id=second["id"], tools=[WEATHER])
    assert [role for role, _ in contents(asked.all()[-1])] == ["system", "user", "assistant", "user"]


async def test_another_kind_of_context_management_is_refused_by_name(one: Worker) -> None:
    with pytest.raises(BadRequest) as caught:
        await one.create("x", context_management=[{"type": "truncation"}])
    assert caught.value.param == "context_management[0].type"


async def test_a_compaction_whose_worker_stops_is_made_by_another_one(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    slow = {"text": "Requests: SUMMARY and some more words", "delay": 0.1}
    system = said_by_system(asked.tag, slow)
    items = [system, user(LONG), {"role": "assistant", "content": "I see."}, user("Is it green?")]
    async with worker(store, gateway, lease=0.4) as one:
        frames = await one.stream(items, background=True, **MANAGED)
        seen = b""
        async for piece in frames:
            seen += piece
            if b"output_item.added" in seen:
                break
        one.jobs.stop_at_once()
        await one.jobs.stop(0)
        id = parsed(seen)[0]["response"]["id"]
        async with worker(store, gateway, lease=0.4) as other:
            response = await other.ended(id)
            assert [item["type"] for item in response["output"]] == ["compaction", "message"]
            whole = await other.frames(id)
            assert whole.startswith(seen)
            numbers = [event["sequence_number"] for event in parsed(whole)]
            assert numbers == list(range(len(numbers)))


async def _survive(store: Store, mortal: MortalStore, gateway: Gateway, *, live: bool) -> None:
    """Let one worker begin a response that is compacted, and die; another one finishes it."""
    slow = {"text": "Requests: SUMMARY and some more words", "delay": 0.03}
    system = said_by_system(secrets.token_hex(8), slow)
    items = [system, user(LONG), {"role": "assistant", "content": "I see."}, user("Is it green?")]
    seen: list[JSON] = []
    async with worker(mortal, gateway, lease=LEASE) as first:  # type: ignore[arg-type]
        body = {"model": "m", "input": items, "background": True, "stream": live, **MANAGED}
        request = await responses.checked_request(first.context(), body)
        await mortal.live_through(first.follow(request, seen))
    async with worker(store, gateway, lease=LEASE) as second:
        response = await second.ended(request.id, 60)
        assert response["status"] == "completed"
        assert [item["type"] for item in response["output"]] == ["compaction", "message"]
        await second.check_log(response, seen)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("live", [True, False], ids=["live", "background"])
async def test_a_compaction_survives_the_loss_of_its_worker_at_any_write(
    store: Store, gateway: Gateway, live: bool
) -> None:
    whole = MortalStore(store)
    await _survive(store, whole, gateway, live=live)
    mortals = [MortalStore(store, at=at, how=how) for at in range(len(whole.writes)) for how in HOW]
    assert len(mortals) > 2
    await asyncio.gather(*(_survive(store, mortal, gateway, live=live) for mortal in mortals))
