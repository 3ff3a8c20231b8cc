"""Assistants whose tools are Python functions."""

import asyncio
import contextvars
import threading
from typing import Annotated, Literal

import pytest
from conftest import calls, script
from pydantic import BaseModel, Field

from astrolabe_client import (
    AssistantManager,
    Astrolabe,
    AsyncAssistantManager,
    AsyncAstrolabe,
    RunFailed,
    Tool,
    TooManyRounds,
)

MODEL = "any-model"


class Place(BaseModel):
    latitude: float
    longitude: float


def get_weather(
    city: Annotated[str, Field(description="A city, such as Paris.")],
    unit: Literal["celsius", "fahrenheit"] = "celsius",
) -> dict[str, str]:
    """Return the weather of a city."""
    if city == "Atlantis":
        raise LookupError("no such city: Atlantis")
    return {"city": city, "sky": "sunny", "unit": unit}


def test_a_functions_signature_and_docstring_are_its_definition() -> None:
    definition = Tool(get_weather).definition()["function"]
    assert (definition["name"], definition["description"]) == ("get_weather", "Return the weather of a city.")
    parameters = definition["parameters"]
    assert parameters["required"] == ["city"]
    assert parameters["properties"]["city"]["description"] == "A city, such as Paris."
    assert parameters["properties"]["unit"]["enum"] == ["celsius", "fahrenheit"]
    assert parameters["additionalProperties"] is False


def test_a_function_gets_models_not_dicts() -> None:
    def height(place: Place, *, precise: bool = False) -> str:
        """Return the height of a place."""
        return f"{type(place).__name__} {place.latitude} {precise}"

    arguments = '{"place": {"latitude": 1, "longitude": 2}, "precise": true}'
    assert Tool(height).call(arguments) == "Place 1.0 True"


def test_a_function_without_named_parameters_is_refused() -> None:
    def many(*words: str) -> None: ...

    with pytest.raises(TypeError, match="many"):
        Tool(many).definition()


def test_two_tools_of_one_name_are_refused(client: Astrolabe) -> None:
    with pytest.raises(ValueError, match="get_weather"):
        AssistantManager(client, model=MODEL, tools=[get_weather, get_weather])


def test_a_manager_answers_and_remembers_its_thread(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL, instructions="Be brief.")
    assert assistant.run(script({"text": "One."})).text == "One."
    assert assistant.run(script({"text": "Two."})).text == "Two."
    messages = client.beta.threads.messages.list(assistant.thread_id).data
    assert [message.role for message in messages] == ["assistant", "user"] * 2


def test_a_manager_streams_the_text(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL)
    with assistant.stream(script({"text": "one two three", "chunks": 3, "delay": 0.15})) as stream:
        pieces = list(stream)
    assert "".join(pieces) == stream.reply.text == "one two three"
    assert len(pieces) > 1
    assert stream.reply.run.status == "completed"


def test_a_stream_that_is_left_goes_on_at_the_server(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL)
    with assistant.stream(script({"text": "one two three", "chunks": 3, "delay": 0.1})) as stream:
        next(iter(stream))
    (run,) = client.beta.threads.runs.list(assistant.thread_id).data
    events = list(client.run_events(run.id, thread_id=assistant.thread_id))
    assert "thread.run.completed" in [one.event for one in events]


def test_a_tool_is_called_and_its_result_given_to_the_model(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL, tools=[get_weather])
    reply = assistant.run(
        script(calls("get_weather", {"city": "Paris"}), {"text": "It is {find:sunny|rainy} there."})
    )
    assert reply.text == "It is sunny there."
    (call,) = reply.calls
    assert (call.name, call.error) == ("get_weather", None)
    assert call.output == '{"city":"Paris","sky":"sunny","unit":"celsius"}'


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("get_weather", {"city": "Atlantis"}, "Error: LookupError: no such city: Atlantis"),
        ("get_weather", {"town": "Paris"}, "Error: city: Missing required argument"),
        ("get_weather", '{"city": ', "Error: Invalid JSON"),
        ("get_time", {}, "Error: LookupError: There is no tool named 'get_time'; call get_weather"),
    ],
)
def test_what_goes_wrong_in_a_call_is_given_to_the_model(
    client: Astrolabe, name: str, arguments: object, told: str
) -> None:
    assistant = AssistantManager(client, model=MODEL, tools=[get_weather])
    reply = assistant.run(script(calls(name, arguments), {"text": "{tool}"}))
    assert reply.text.startswith(told)
    assert reply.calls[0].error is not None


def test_calls_of_one_round_run_side_by_side_in_their_callers_context(client: Astrolabe) -> None:
    barrier, user = threading.Barrier(3, timeout=20), contextvars.ContextVar("user", default="nobody")
    user.set("Ada")

    def greet(name: str) -> str:
        """Greet, once everybody is here."""
        barrier.wait()
        return f"{user.get()} greets {name}"

    assistant = AssistantManager(client, model=MODEL, tools=[greet])
    reply = assistant.run(script(calls("greet", *({"name": name} for name in "ABC")), {"text": "Done."}))
    assert [call.output for call in reply.calls] == ["Ada greets A", "Ada greets B", "Ada greets C"]


def test_rounds_are_bounded_and_the_run_is_cancelled(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL, tools=[get_weather], max_rounds=2)
    again = calls("get_weather", {"city": "Paris"})
    with pytest.raises(TooManyRounds) as refusal:
        assistant.run(script(again, again, again))
    run = client.beta.threads.runs.retrieve(refusal.value.run.id, thread_id=assistant.thread_id)
    assert run.status == "cancelled"
    assert assistant.run(script({"text": "Free again."})).text == "Free again."


def test_as_many_rounds_as_allowed_are_answered(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL, tools=[get_weather], max_rounds=2)
    again = calls("get_weather", {"city": "Paris"})
    reply = assistant.run(script(again, again, {"text": "Done."}))
    assert (reply.text, len(reply.calls)) == ("Done.", 2)


def test_a_run_that_fails_raises_its_reason(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL)
    with pytest.raises(RunFailed, match="no credit left") as failure:
        assistant.run(script({"fail": {"status": 400, "message": "no credit left"}}))
    assert failure.value.run.status == "failed"


def test_an_answer_that_is_cut_off_raises_its_reason(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model=MODEL)
    with pytest.raises(RunFailed, match="incomplete: max_completion_tokens"):
        assistant.run(script({"text": "one two", "finish_reason": "length"}))


def test_a_hosted_tool_stands_beside_functions(client: Astrolabe) -> None:
    file = client.upload(("birds.txt", b"Penguins swim under ice."))
    store = client.vector_stores.create(file_ids=[file.id])
    assistant = AssistantManager(
        client,
        model=MODEL,
        tools=[{"type": "file_search"}, get_weather],
        tool_resources={"file_search": {"vector_store_ids": [store.id]}},
    )
    search = calls("file_search", {"queries": ["penguins"]})
    assert assistant.run(script(search, {"text": "{find:swim}"})).text == "swim"


def test_an_assistant_and_a_thread_that_exist_are_used_and_deleted(client: Astrolabe) -> None:
    made = client.beta.assistants.create(model=MODEL)
    thread = client.beta.threads.create()
    assistant = AssistantManager(client, model=MODEL, assistant_id=made.id, thread_id=thread.id)
    assert assistant.run(script({"text": "Hello."})).run.assistant_id == made.id
    assistant.delete()
    assert made.id not in [one.id for one in client.beta.assistants.list()]
    assert assistant.assistant_id is None


async def test_an_async_manager_streams_and_calls_both_kinds_of_functions(
    async_client: AsyncAstrolabe,
) -> None:
    loop_thread = threading.get_ident()

    async def get_time(city: str) -> str:
        """Return the time of a city."""
        await asyncio.sleep(0)
        return f"noon in {city}, {threading.get_ident() == loop_thread}"

    def get_place(city: str) -> str:
        """Return the place of a city."""
        return f"{threading.get_ident() == loop_thread}"

    assistant = AsyncAssistantManager(async_client, model=MODEL, tools=[get_time, get_place])
    both = {
        "calls": [
            {"name": "get_time", "arguments": {"city": "Paris"}},
            {"name": "get_place", "arguments": {"city": "Paris"}},
        ]
    }
    async with assistant.stream(script(both, {"text": "At last."})) as stream:
        assert "".join([piece async for piece in stream]) == "At last."
    assert [call.output for call in stream.reply.calls] == ["noon in Paris, True", "False"]
    await assistant.delete()


async def test_an_async_manager_bounds_rounds_and_gives_errors_to_the_model(
    async_client: AsyncAstrolabe,
) -> None:
    assistant = AsyncAssistantManager(async_client, model=MODEL, tools=[get_weather], max_rounds=1)
    failing = calls("get_weather", {"city": "Atlantis"})
    reply = await assistant.run(script(failing, {"text": "{tool}"}))
    assert reply.text == "Error: LookupError: no such city: Atlantis"
    with pytest.raises(TooManyRounds):
        await assistant.run(script(failing, failing))


async def test_messages_at_once_make_one_assistant(async_client: AsyncAstrolabe) -> None:
    assistant = AsyncAssistantManager(async_client, model=MODEL)
    threads = [(await async_client.beta.threads.create()).id for _ in range(3)]
    hello = script({"text": "Hello."})
    replies = await asyncio.gather(*(assistant.run(hello, thread_id=thread) for thread in threads))
    assert [reply.text for reply in replies] == ["Hello."] * 3
    assert {reply.run.assistant_id for reply in replies} == {assistant.assistant_id}


def test_an_async_function_works_in_a_synchronous_manager(client: Astrolabe) -> None:
    async def get_time() -> str:
        """Return the time."""
        return "noon"

    assistant = AssistantManager(client, model=MODEL, tools=[get_time])
    assert assistant.run(script(calls("get_time", {}), {"text": "It is {tool}."})).text == "It is noon."
