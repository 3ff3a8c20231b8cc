import asyncio

from agents import (
    Agent,
    OpenAIConversationsSession,
    Runner,
    function_tool,
    responses_websocket_session,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel
from scripts import TWO_TURNS, URL, WEATHER, WEATHER_ANSWER, WORDS, WORDS_ANSWER, get_weather, script

MODEL = "any-model"
client = AsyncOpenAI(base_url=URL, api_key="any", max_retries=0)
weather = Agent(name="Weather", model=MODEL, tools=[function_tool(get_weather)])
plain = Agent(name="Plain", model=MODEL, instructions="Be short.")


class Place(BaseModel):
    city: str
    streets: list["Street"]


class Street(BaseModel):
    name: str


async def loop_over_tools() -> None:
    assert (await Runner.run(weather, WEATHER)).final_output == WEATHER_ANSWER
    streamed = Runner.run_streamed(weather, WEATHER)
    events = [event async for event in streamed.stream_events()]
    assert streamed.final_output == WEATHER_ANSWER
    deltas = [event.data for event in events if event.type == "raw_response_event"]
    assert (
        "".join(event.delta for event in deltas if event.type == "response.output_text.delta")
        == WEATHER_ANSWER
    )


async def hold_a_session() -> None:
    # The second run reads what the first one wrote.
    session = OpenAIConversationsSession()
    assert (await Runner.run(plain, TWO_TURNS, session=session)).final_output == "one"
    assert (await Runner.run(plain, "Go on.", session=session)).final_output == "two"
    roles = [item["role"] for item in await session.get_items()]
    assert roles == ["user", "assistant", "user", "assistant"]
    assert (await Runner.run(weather, WEATHER, session=session)).final_output == WEATHER_ANSWER
    assert len(await session.get_items(limit=4)) == 4
    assert (await session.pop_item())["role"] == "assistant"
    await session.clear_session()


async def leave_the_state_to_the_server() -> None:
    conversation = await client.conversations.create()
    assert (await Runner.run(plain, TWO_TURNS, conversation_id=conversation.id)).final_output == "one"
    assert (await Runner.run(plain, "Go on.", conversation_id=conversation.id)).final_output == "two"
    first = await Runner.run(plain, TWO_TURNS)
    second = await Runner.run(plain, "Go on.", previous_response_id=first.last_response_id)
    assert second.final_output == "two"


async def hand_off() -> None:
    turns = script({"calls": [{"name": "transfer_to_plain"}]}, {"text": "Hello from the other."})
    handed = await Runner.run(Agent(name="Triage", model=MODEL, handoffs=[plain]), turns)
    assert handed.last_agent.name == "Plain"
    assert handed.final_output == "Hello from the other."


async def answer_by_a_type() -> None:
    typed = Agent(name="Typed", model=MODEL, output_type=Place)
    paris = Place(city="Paris", streets=[Street(name="Rue de Rivoli")])
    assert (await Runner.run(typed, script({"text": paris.model_dump_json()}))).final_output == paris


async def respond_on_one_websocket() -> None:
    async with responses_websocket_session(api_key="any", base_url=URL) as socket:
        for _ in range(2):
            result = socket.run_streamed(weather, WEATHER)
            async for _event in result.stream_events():
                pass
            assert result.final_output == WEATHER_ANSWER
        assert (await socket.run(plain, WORDS)).final_output == WORDS_ANSWER


async def main() -> None:
    set_default_openai_client(client)
    set_tracing_disabled(True)
    await loop_over_tools()
    await hold_a_session()
    await leave_the_state_to_the_server()
    await hand_off()
    await answer_by_a_type()
    await respond_on_one_websocket()


asyncio.run(main())
