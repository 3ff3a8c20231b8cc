import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from scripts import URL, WEATHER, WEATHER_ANSWER, WORDS, WORDS_ANSWER, get_weather

model = OpenAIChatModel("any-model", provider=OpenAIProvider(base_url=URL, api_key="any"))
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


asyncio.run(main())
