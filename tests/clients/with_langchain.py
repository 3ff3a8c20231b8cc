from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from scripts import URL, WEATHER, WEATHER_ANSWER, WORDS, WORDS_ANSWER, get_weather

model = ChatOpenAI(model="any-model", base_url=URL, api_key="any", max_retries=0)

# An agent's tool loop, whole and streamed.
agent = create_agent(model, tools=[get_weather])
question = {"messages": [{"role": "user", "content": WEATHER}]}
assert agent.invoke(question)["messages"][-1].content == WEATHER_ANSWER
*_, last = agent.stream(question, stream_mode="values")
assert last["messages"][-1].content == WEATHER_ANSWER

# A stream.
assert "".join(chunk.content for chunk in model.stream(WORDS)) == WORDS_ANSWER
