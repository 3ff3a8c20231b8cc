import asyncio
import time

import openai
import pytest
from conftest import MODEL, script
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

pytest.importorskip("openai.types.responses", reason="older SDKs know no responses")

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
CALL_AND_ANSWER = script(
    {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
    {"text": "It is {find:sunny} in Paris.", "chunks": 4},
)


class Place(BaseModel):
    city: str


def test_a_response_is_created_retrieved_and_deleted(client: OpenAI) -> None:
    made = client.responses.create(model=MODEL, input=script({"text": "Hello."}), metadata={"a": "b"})
    assert (made.object, made.status, made.output_text) == ("response", "completed", "Hello.")
    assert (made.model, made.metadata, made.error) == (MODEL, {"a": "b"}, None)
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert client.responses.retrieve(made.id) == made
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError) as refusal:
        client.responses.retrieve(made.id)
    assert refusal.value.body["message"] == f"Response with id '{made.id}' not found."


def test_the_input_is_listed(client: OpenAI) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}
    text = {"type": "input_text", "text": "What is it?"}
    items = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [text, image]}]
    made = client.responses.create(model=MODEL, input=items)
    listed = list(client.responses.input_items.list(made.id, order="asc", limit=1))
    assert [item.role for item in listed] == ["developer", "user"]
    assert [part.type for part in listed[1].content] == ["input_text", "input_image"]


def test_a_function_is_called_and_answered(client: OpenAI) -> None:
    first = client.responses.create(model=MODEL, input=CALL_AND_ANSWER, tools=[WEATHER])
    (call,) = first.output
    assert (call.type, call.name, call.arguments) == ("function_call", "get_weather", '{"city": "Paris"}')
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = client.responses.create(
        model=MODEL, previous_response_id=first.id, input=[output], tools=[WEATHER]
    )
    assert second.output_text == "It is sunny in Paris."
    assert second.previous_response_id == first.id


def test_a_call_without_its_output_is_refused(client: OpenAI) -> None:
    first = client.responses.create(model=MODEL, input=CALL_AND_ANSWER, tools=[WEATHER])
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(model=MODEL, previous_response_id=first.id, input="And now?")
    words = f"No tool output found for function call {first.output[0].call_id}."
    assert refusal.value.body["message"] == words


def test_a_stream_shows_each_event_of_an_answer(client: OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=script({"text": "one two three", "chunks": 3})) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "one two three"
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert client.responses.retrieve(final.id).output[0].id == final.output[0].id


def test_a_stream_shows_a_function_call(client: OpenAI) -> None:
    stream = client.responses.create(model=MODEL, input=CALL_AND_ANSWER, tools=[WEATHER], stream=True)
    events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert "".join(deltas) == done.arguments == '{"city": "Paris"}'
    assert events[-1].response.output[0].arguments == done.arguments
    assert [event.to_dict()["sequence_number"] for event in events] == list(range(len(events)))


def test_an_answer_is_parsed(client: OpenAI) -> None:
    answer = script({"text": '{"city": "Paris"}'})
    parsed = client.responses.parse(model=MODEL, input=answer, text_format=Place)
    assert parsed.output_parsed == Place(city="Paris")
    assert parsed.text.format.type == "json_schema"


def test_what_is_unknown_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(model=MODEL, input="Hello.", previous_response_id="resp_" + "0" * 48)
    assert (refusal.value.code, refusal.value.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )


def test_a_response_that_is_not_stored_cannot_be_read(client: OpenAI) -> None:
    made = client.responses.create(model=MODEL, input=script({"text": "Hello."}), store=False)
    assert made.output_text == "Hello."
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_in_the_background_is_polled_followed_and_cancelled(client: OpenAI) -> None:
    if not hasattr(client.responses, "cancel"):
        pytest.skip("older SDKs know no responses in the background")
    made = client.responses.create(
        model=MODEL, input=script({"text": "one two", "delay": 0.05}), background=True
    )
    assert made.status in {"queued", "in_progress"}
    deadline = time.monotonic() + 30
    while (polled := client.responses.retrieve(made.id)).status in {"queued", "in_progress"}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert polled.output_text == "one two"
    whole = list(client.responses.retrieve(made.id, stream=True))
    assert list(client.responses.retrieve(made.id, stream=True, starting_after=2)) == whole[3:]
    assert client.responses.retrieve(made.id, starting_after=2) == polled

    endless = script({"text": "word " * 100, "delay": 1})
    made = client.responses.create(model=MODEL, input=endless, background=True)
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.cancel(made.id).status == "cancelled"


async def test_the_async_client_holds_conversations(async_client: AsyncOpenAI) -> None:
    if not hasattr(async_client, "conversations"):
        pytest.skip("older SDKs know no conversations")
    conversation = await async_client.conversations.create()
    two = script({"text": "one"}, {"text": "two"})
    first = await async_client.responses.create(model=MODEL, input=two, conversation=conversation.id)
    async with async_client.responses.stream(
        model=MODEL, input="Go on.", conversation=conversation.id
    ) as stream:
        second = await stream.get_final_response()
    assert (first.output_text, second.output_text) == ("one", "two")
    assert second.conversation.id == conversation.id
    items = [item async for item in async_client.conversations.items.list(conversation.id, order="asc")]
    assert [item.role for item in items] == ["user", "assistant", "user", "assistant"]
    assert items[1].to_dict() == first.output[0].to_dict()


def test_a_chain_that_is_not_stored_lives_on_its_websocket(client: OpenAI) -> None:
    if not hasattr(client.responses, "connect"):
        pytest.skip("older SDKs know no WebSockets")
    two = script({"text": "one"}, {"text": "two"})
    with client.responses.connect() as connection:

        def answer(**fields: object):
            connection.response.create(model=MODEL, store=False, **fields)
            return next(event.response for event in connection if event.type == "response.completed")

        first = answer(input=two)
        second = answer(input="Go on.", previous_response_id=first.id)
    assert (first.output[0].content[0].text, second.output[0].content[0].text) == ("one", "two")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


async def test_a_thousand_words_are_streamed_to_many_at_once(async_client: AsyncOpenAI) -> None:
    async def text() -> str:
        stream = await async_client.responses.create(
            model=MODEL, input=script({"text": "word ", "repeat": 1000}), stream=True
        )
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

    assert await asyncio.gather(*(text() for _ in range(10))) == ["word " * 1000] * 10
