"""The async client, which looks models up in event loops of their own, over the same connections."""

from conftest import MODEL, script
from openai import AsyncOpenAI
from openai.lib.streaming import AsyncAssistantEventHandler

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def test_a_run_is_streamed_and_its_tools_answered(async_client: AsyncOpenAI):
    assistant = await async_client.beta.assistants.create(model=MODEL, tools=[TOOL])
    call = {"calls": [{"name": "weather", "arguments": {}, "id": "call_1"}]}
    thread = await async_client.beta.threads.create()
    await async_client.beta.threads.messages.create(
        thread_id=thread.id, role="user", content=script(call, {"text": "It is {tool}."})
    )
    said: list[str] = []

    class Handler(AsyncAssistantEventHandler):
        async def on_tool_call_done(self, tool_call):
            async with async_client.beta.threads.runs.submit_tool_outputs_stream(
                thread_id=self.current_run.thread_id,
                run_id=self.current_run.id,
                tool_outputs=[{"tool_call_id": tool_call.id, "output": "sunny"}],
                event_handler=AsyncAssistantEventHandler(),
            ) as stream:
                said.extend([text async for text in stream.text_deltas])

    async with async_client.beta.threads.runs.create_and_stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=Handler()
    ) as stream:
        await stream.until_done()
    assert "".join(said) == "It is sunny."


async def test_a_run_is_created_and_read(async_client: AsyncOpenAI):
    assistant = await async_client.beta.assistants.create(model=MODEL)
    thread = await async_client.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
    run = await async_client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    messages = await async_client.beta.threads.messages.list(thread_id=thread.id)
    assert messages.data[0].content[0].text.value == "You said: hi"
