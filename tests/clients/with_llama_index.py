import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike
from scripts import URL, WEATHER, WEATHER_ANSWER, WORDS, WORDS_ANSWER, get_weather

model = OpenAILike(
    model="any-model",
    api_base=URL,
    api_key="any",
    is_chat_model=True,
    is_function_calling_model=True,
    max_retries=0,
)


async def main() -> None:
    # An agent's tool loop, whose requests are streamed.
    agent = FunctionAgent(tools=[get_weather], llm=model)
    assert str(await agent.run(WEATHER)) == WEATHER_ANSWER


asyncio.run(main())

# A stream.
assert "".join(piece.delta for piece in model.stream_complete(WORDS)) == WORDS_ANSWER
