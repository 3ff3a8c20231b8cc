import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.providers.openai import OpenAIProvider
from scripts import TWO_TURNS, URL, WEATHER, WEATHER_ANSWER, WORDS, WORDS_ANSWER, get_weather

provider = OpenAIProvider(base_url=URL, api_key="any")
model = OpenAIChatModel("any-model", provider=provider)
responses = OpenAIResponsesModel("any-model", provider=provider)
agent = Agent(model, tools=[get_weather])


async def main() -> None:
    # A tool loop, whole and streamed.
    assert (await agent.run(WEATHER)).output == WEATHER_ANSWER
    async with agent.run_stream(WEATHER) as result:
        assert await result.get_output() == WEATHER_ANSWER

    # A stream.
    async with Agent(model).run_stream(WORDS) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == WORDS_ANSWER
    assert len(pieces) > 1

    # Responses: the caller sends all again, or the server keeps a chain or a conversation.
    conversation = await provider.client.conversations.create()
    for settings in (
        OpenAIResponsesModelSettings(),
        OpenAIResponsesModelSettings(openai_previous_response_id="auto"),
        OpenAIResponsesModelSettings(openai_conversation_id=conversation.id),
        OpenAIResponsesModelSettings(openai_background=True),
        OpenAIResponsesModelSettings(openai_transport="websocket"),
        OpenAIResponsesModelSettings(openai_transport="websocket", openai_store=False),
    ):
        keeper = Agent(responses, tools=[get_weather], model_settings=settings)
        assert (await keeper.run(WEATHER)).output == WEATHER_ANSWER
        async with keeper.run_stream(WEATHER) as result:
            assert await result.get_output() == WEATHER_ANSWER
        first = await keeper.run(TWO_TURNS)
        second = await keeper.run("Go on.", message_history=first.all_messages())
        assert (first.output, second.output) == ("one", "two")


asyncio.run(main())
