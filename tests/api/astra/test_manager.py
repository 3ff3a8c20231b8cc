"""The client's AssistantManager and its event handler, which only a stream without OpenAI's extras serves."""

from astra_assistants.astra_assistants_event_handler import AstraEventHandler
from astra_assistants.astra_assistants_manager import AssistantManager
from astra_assistants.tools.tool_interface import ToolInterface
from conftest import MODEL, script
from openai import OpenAI
from pydantic import BaseModel

SEARCH = {"calls": [{"name": "file_search", "arguments": {"queries": ["penguins"]}}]}


class City(BaseModel):
    name: str


class Weather(ToolInterface):
    def call(self, city: City):
        """Return the weather of a city."""
        return {"output": f"sunny in {city.name}"}


def birds(client: OpenAI) -> dict:
    file = client.files.create(file=("birds.txt", b"Penguins swim under ice."), purpose="assistants")
    store = client.vector_stores.create(name="birds", file_ids=[file.id])
    return {"file_search": {"vector_store_ids": [store.id]}}


async def test_a_manager_answers(client: OpenAI):
    manager = AssistantManager(instructions="Be brief.", model=MODEL, client=client)
    answer = await manager.run_thread(script({"text": "Hello there."}))
    assert answer == {"text": "Hello there.", "file_search": None}


async def test_a_manager_calls_a_tool(client: OpenAI):
    manager = AssistantManager(instructions="Be brief.", model=MODEL, client=client, tools=[Weather()])
    call = {"text": "Let me see. ", "calls": [{"name": "Weather", "arguments": {"name": "Paris"}}]}
    answer = await manager.run_thread(script(call, {"text": "It is {tool}."}), tool=Weather())
    assert answer["text"] == "Let me see. It is sunny in Paris."
    assert answer["arguments"] == City(name="Paris")


def test_a_manager_streams_the_result_of_a_tool_and_the_text(client: OpenAI):
    manager = AssistantManager(instructions="Be brief.", model=MODEL, client=client, tools=[Weather()])
    call = {"calls": [{"name": "Weather", "arguments": {"name": "Paris"}}]}
    pieces = list(manager.stream_thread(script(call, {"text": "It is sunny."}), tool_choice=Weather()))
    assert pieces[0] == {"output": "sunny in Paris"}
    assert "".join(pieces[1:]) == "It is sunny."


async def test_a_manager_searches_files(client: OpenAI):
    manager = AssistantManager(
        instructions="Be brief.",
        model=MODEL,
        client=client,
        tools=[{"type": "file_search"}],
        tool_resources=birds(client),
    )
    thread = manager.thread
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content="Hello")
    handler = AstraEventHandler(client)
    content = script(SEARCH, {"text": "They swim."})
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=content)
    with client.beta.threads.runs.create_and_stream(
        thread_id=thread.id, assistant_id=manager.assistant.id, event_handler=handler
    ) as stream:
        assert "".join(stream.text_deltas) == "They swim."
    assert [chunk["content"] for chunk in handler.file_search.chunks] == ["Penguins swim under ice."]
    assert handler.error is None
