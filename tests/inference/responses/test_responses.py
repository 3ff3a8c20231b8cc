"""Responses through the handlers: what they continue, what they keep, how they end."""

import asyncio
import json

import pytest

from handlers import responses
from handlers.errors import ApiError
from inference.engine import engine
from inference.gateway import Gateway
from inference.responses.errors import ConversationLocked, ItemNotFound, ResponseNotFound
from inference.responses.items import ItemRefused
from persistence.store import Store
from tests.contract.engines import ENGINES
from tests.fixtures.refusals import refused
from tests.inference.engine.conftest import Asked, asked
from tests.inference.engine.process import script
from tests.inference.responses.worker import parsed, text_of, types, worker

__all__ = ["asked"]

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
SLOW = {"text": "one two three four five six seven eight", "delay": 0.05}


@pytest.mark.parametrize("store", ENGINES, indirect=True)
async def test_a_chain_remembers_what_was_said_on_any_worker(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        first = await one.create(script({"text": "Aye."}, {"text": "Still aye."}, tag=asked.tag))
        second = await other.create("And now?", previous_response_id=first["id"])
        assert (text_of(first), text_of(second)) == ("Aye.", "Still aye.")
        roles = [message["role"] for message in asked.all()[1]["messages"]]
        assert roles == ["user", "assistant", "user"]


@pytest.mark.parametrize("store", ENGINES, indirect=True)
async def test_two_continuations_of_one_response_know_nothing_of_each_other(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    async with worker(store, gateway) as one:
        turns = [{"text": f"answer {number}"} for number in range(6)]
        first = await one.create(script(*turns, tag=asked.tag))
        left, right = await asyncio.gather(
            one.create("left", previous_response_id=first["id"]),
            one.create("right", previous_response_id=first["id"]),
        )
        for side, said in ((left, "left"), (right, "right")):
            latest = await one.create("more", previous_response_id=side["id"])
            await one.create("and more", previous_response_id=latest["id"])
            users = [each["content"] for each in asked.all()[-1]["messages"] if each["role"] == "user"]
            assert users[1:] == [said, "more", "and more"]


async def test_deleting_a_response_takes_only_its_items_out_of_a_chain(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    async with worker(store, gateway) as one:
        first = await one.create(script(*[{"text": "x"}] * 5, tag=asked.tag))
        second = await one.create("second", previous_response_id=first["id"])
        third = await one.create("third", previous_response_id=second["id"])
        await one.responses.delete("p", second["id"])
        await one.create("fourth", previous_response_id=third["id"])
        users = [each["content"] for each in asked.all()[-1]["messages"] if each["role"] == "user"]
        assert users[1:] == ["third", "fourth"]


@pytest.mark.parametrize("store", ENGINES, indirect=True)
async def test_a_conversation_gets_the_items_of_its_responses(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        conversation = await one.conversation()
        await one.create("Hello.", conversation=conversation)
        await other.create("Once more.", conversation={"id": conversation})
        said = [item["content"][0]["text"] for item in await one.items(conversation)]
        assert said == ["Hello.", "You said: Hello.", "Once more.", "You said: Once more."]


async def test_a_conversation_takes_one_response_at_a_time(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        conversation = await one.conversation()
        running = await one.create(script(SLOW), conversation=conversation, background=True)
        with pytest.raises(ConversationLocked):
            await one.create("Me too.", conversation=conversation)
        await one.ended(running["id"])
        assert text_of(await one.create("Now?", conversation=conversation))


async def test_a_failed_response_adds_nothing_to_its_conversation(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        conversation = await one.conversation()
        with pytest.raises(ApiError):
            await one.create(script({"fail": {"status": 500}}), conversation=conversation)
        assert await one.items(conversation) == []
        await one.create("Again.", conversation=conversation)


async def test_a_call_ends_its_response_and_its_output_continues_it(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        said = script(
            {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}, {"text": "{tool}!"}
        )
        first = await one.create(said, tools=[WEATHER])
        call = first["output"][0]
        assert first["status"] == "completed"
        assert (call["type"], json.loads(call["arguments"])) == ("function_call", {"city": "Paris"})
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        second = await one.create([output], previous_response_id=first["id"], tools=[WEATHER])
        assert text_of(second) == "sunny!"
        with pytest.raises(ItemRefused, match="No tool output found for function call"):
            await one.create("Never mind.", previous_response_id=first["id"])


async def test_an_item_reference_finds_its_item_by_the_id_alone(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    async with worker(store, gateway) as one:
        first = await one.create(script({"text": "Aye."}, {"text": "Aye again."}, tag=asked.tag))
        asks = asked.all()[0]["messages"][0]["content"]
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        await one.create([{"role": "user", "content": asks}, reference, {"role": "user", "content": "Hm."}])
        assert [each["content"] for each in asked.all()[-1]["messages"]] == [asks, "Aye.", "Hm."]
        with pytest.raises(ItemNotFound):
            await one.create([reference], project="another")


async def test_another_projects_response_is_as_unknown_as_none(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        first = await one.create("Hello.")
        messages = []
        for id in (first["id"], "resp_none"):
            with pytest.raises(ResponseNotFound) as refused:
                await one.create("And?", project="another", previous_response_id=id)
            messages.append(str(refused.value).replace(id, "ID"))
        assert messages[0] == messages[1]


@pytest.mark.parametrize("store", ENGINES, indirect=True)
async def test_a_response_that_is_not_stored_leaves_no_trace(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        kept = await one.create("Kept.")
        written = []
        write = store.write

        async def counted(*operations: object) -> object:
            written.append(operations)
            return await write(*operations)  # type: ignore[arg-type]

        store.write = counted  # type: ignore[method-assign, assignment]
        answer = await one.create("Hello.", store=False, previous_response_id=kept["id"])
        streamed = b"".join([piece async for piece in await one.stream("Hello.", store=False)])
        assert text_of(answer) == "You said: Hello."
        assert parsed(streamed)[-1]["type"] == "response.completed"
        assert written == []
        for id in (answer["id"], parsed(streamed)[0]["response"]["id"]):
            with pytest.raises(ResponseNotFound):
                await one.get(id)


async def test_the_events_of_an_answer_come_in_openais_order(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        frames = b"".join([piece async for piece in await one.stream("Hello there.")])
    events = parsed(frames)
    assert types(events) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(event["delta"] for event in deltas) == "You said: Hello there."
    assert all((len(event["delta"]) + len(event["obfuscation"])) % 16 == 0 for event in deltas)


async def test_the_read_after_a_streams_end_is_whole(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        ends = 0
        for _ in range(20):
            async for piece in await one.stream("Hello."):
                if b"response.completed" in piece:
                    event = parsed(piece)[-1]
                    assert await other.get(event["response"]["id"]) == event["response"]
                    ends += 1
        assert ends == 20


async def test_a_response_in_the_background_can_be_followed_from_any_number(
    store: Store, gateway: Gateway
) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        stream = await one.stream(script(SLOW), background=True)
        whole = b"".join([piece async for piece in stream])
        events = parsed(whole)
        assert types(events)[:3] == ["response.created", "response.queued", "response.in_progress"]
        id = events[0]["response"]["id"]
        for after in range(len(events)):
            rest = await other.frames(id, after)
            assert rest == b"".join(
                whole.split(b"\n\n")[at] + b"\n\n" for at in range(after + 1, len(events))
            )


async def test_a_client_that_leaves_cancels_a_foreground_response_only(
    store: Store, gateway: Gateway
) -> None:
    async with worker(store, gateway) as one:
        ends = {}
        for background in (False, True):
            stream = await one.stream(script(SLOW), background=background)
            first = await anext(stream)
            id = parsed(first)[0]["response"]["id"]
            await stream.aclose()  # type: ignore[attr-defined]
            ends[background] = (await one.ended(id))["status"]
        assert ends == {False: "cancelled", True: "completed"}


async def test_cancelling_ends_a_background_response_at_once(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        running = await one.create(script({"text": "never", "wait": 30}), background=True)
        cancelled = await responses.cancel_response(one.context(), running["id"])
        assert cancelled["status"] == "cancelled"
        assert (await responses.cancel_response(one.context(), running["id"]))["status"] == "cancelled"
        done = await one.create("Hello.", background=True)
        await one.ended(done["id"])
        answered = await responses.cancel_response(one.context(), done["id"])
        assert (answered["status"], answered) == ("completed", await one.get(done["id"]))


async def test_many_cancellations_at_once_all_answer_the_cancelled_response(
    store: Store, gateway: Gateway
) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        running = await one.create(script({"text": "never", "wait": 30}), background=True)
        contexts = [each.context() for each in (one, other) * 4]
        cancelled = [responses.cancel_response(context, running["id"]) for context in contexts]
        statuses = [response["status"] for response in await asyncio.gather(*cancelled)]
        assert statuses == ["cancelled"] * 8


async def test_output_that_is_cut_off_makes_the_response_incomplete(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        response = await one.create("one two three four five", max_output_tokens=2)
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_chain_of_fifty_turns_is_read_by_one_page(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        previous = await one.create("0")
        for number in range(1, 50):
            previous = await one.create(str(number), previous_response_id=previous["id"])
        pages = []
        page = store.page

        async def counted(*arguments: object, **options: object) -> object:
            pages.append(arguments)
            return await page(*arguments, **options)  # type: ignore[arg-type]

        store.page = counted  # type: ignore[method-assign, assignment]
        await one.create("50", previous_response_id=previous["id"])
        assert len(pages) == 1


async def test_an_input_that_is_too_large_to_be_stored_is_refused_with_what_to_do(
    store: Store, gateway: Gateway
) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 13_000_000}
    input = [{"role": "user", "content": [image]}]
    async with worker(store, gateway) as one:
        error = await refused(one.create(input))
        assert (error.status, error.param, error.code) == (400, "input", "object_too_large")
        assert "name them by 'file_id'" in error.message
        assert text_of(await one.create(input, store=False)) == "You said: "


async def test_a_model_that_never_answers_one_project_keeps_no_other_waiting(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More responses than a worker runs at once wait for their model."""
    monkeypatch.setattr(engine, "CONCURRENCY", 8)
    async with worker(store, gateway) as one:
        stalled = script({"text": "late", "wait": 60})
        for _ in range(12):
            await one.create(stalled, background=True)
        other = await one.create("hello", background=True, project="q")
        async with asyncio.timeout(10):
            while (await one.get(other["id"], project="q"))["status"] != "completed":
                await asyncio.sleep(0.02)
