from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from scripts import PLACE, TWO_TURNS, URL, WEATHER, WEATHER_ANSWER, WORDS, WORDS_ANSWER, get_weather


class Place(BaseModel):
    city: str


model = ChatOpenAI(model="any-model", base_url=URL, api_key="any", max_retries=0)

# An agent's tool loop, whole and streamed.
agent = create_agent(model, tools=[get_weather])
question = {"messages": [{"role": "user", "content": WEATHER}]}
assert agent.invoke(question)["messages"][-1].content == WEATHER_ANSWER
*_, last = agent.stream(question, stream_mode="values")
assert last["messages"][-1].content == WEATHER_ANSWER

# A stream.
assert "".join(chunk.content for chunk in model.stream(WORDS)) == WORDS_ANSWER

# Responses, whose state the server keeps or the caller sends again.
for options in ({"use_previous_response_id": True}, {"output_version": "responses/v1"}, {"store": False}):
    model = ChatOpenAI(
        model="any-model", base_url=URL, api_key="any", max_retries=0, use_responses_api=True, **options
    )
    agent = create_agent(model, tools=[get_weather])
    assert agent.invoke(question)["messages"][-1].text == WEATHER_ANSWER
    *_, last = agent.stream(question, stream_mode="values")
    assert last["messages"][-1].text == WEATHER_ANSWER
    assert "".join(chunk.text for chunk in model.stream(WORDS)) == WORDS_ANSWER
    first = model.invoke(TWO_TURNS)
    assert first.response_metadata["id"].startswith("resp_")
    chat = [HumanMessage(TWO_TURNS), first, HumanMessage("Go on.")]
    assert model.invoke(chat).text == "two"
    typed = model.with_structured_output(Place, method="json_schema")
    assert typed.invoke(PLACE).city == "Paris"
