"""Models behind the Responses API are asked as chat models; the provider here is another Astrolabe."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ProviderError, ProviderRejected
from inference.gateway import ChunkAccumulator, Gateway, Routes
from inference.gateway.driver import MadeResponse, ProviderRequest, ProviderResponse, one_piece
from inference.gateway.drivers.openai_driver import OpenAIDriver
from inference.gateway.drivers.responses_driver import ResponsesDriver
from inference.gateway.drivers.responses_requests import responses_request
from inference.gateway.paths import CHAT
from inference.gateway.requests import chat_request
from inference.gateway.routing.targets import Target, Wire
from persistence.types import JSON
from tests.server import Server

MODELS = """
providers:
  upstream: {{wire: responses, base_url: "{url}", api_key: any, retries: 0}}
models:
  "*": {{provider: upstream}}
"""

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
async def responses_gateway(server: Server, tmp_path: Path) -> AsyncIterator[Gateway]:
    path = tmp_path / "models.yaml"
    path.write_text(MODELS.format(url=server.url))
    gateway = Gateway(Routes.from_file(path, {}))
    await gateway.open()
    yield gateway
    await gateway.close()


def ask(*turns: JSON, **fields: Any) -> JSON:
    said = "script: " + json.dumps({"turns": turns})
    return {"model": "m", "messages": [{"role": "user", "content": said}], **fields}


async def streamed(gateway: Gateway, request: JSON) -> JSON:
    accumulator = ChunkAccumulator()
    async for chunk in gateway.chunks(request):
        accumulator.add(chunk)
    return accumulator.completion()


@pytest.mark.parametrize("stream", [False, True])
async def test_text_and_usage_come_back(responses_gateway: Gateway, stream: bool) -> None:
    request = ask({"text": "Aye, sir."})
    answer = await (streamed if stream else Gateway.complete)(responses_gateway, request)
    choice = answer["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Aye, sir.", "stop")
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_come_back_and_take_their_outputs(responses_gateway: Gateway, stream: bool) -> None:
    complete = streamed if stream else Gateway.complete
    calls = [{"name": "look", "arguments": {"at": side}} for side in ("left", "right")]
    request = ask({"calls": calls}, {"text": "{tool}!"}, tools=[TOOL])
    message = (await complete(responses_gateway, request))["choices"][0]["message"]
    asked = [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]]
    assert asked == [{"at": "left"}, {"at": "right"}]
    outputs = [
        {"role": "tool", "tool_call_id": call["id"], "content": "a door"} for call in message["tool_calls"]
    ]
    second = {**request, "messages": [*request["messages"], message, *outputs]}
    assert (await complete(responses_gateway, second))["choices"][0]["message"]["content"] == "a door!"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_cut_short_says_so(responses_gateway: Gateway, stream: bool) -> None:
    request = ask({"text": " ".join("abcdefghijklmnopqrstuvwxyz")}, max_completion_tokens=16)
    answer = await (streamed if stream else Gateway.complete)(responses_gateway, request)
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_has_the_providers_words(responses_gateway: Gateway, stream: bool) -> None:
    request = ask({"fail": {"status": 400, "message": "Too odd."}})
    with pytest.raises(ProviderError, match="Too odd"):
        await (streamed if stream else Gateway.complete)(responses_gateway, request)


def test_a_field_without_counterpart_is_refused_by_name() -> None:
    with pytest.raises(ProviderRejected, match="'stop'"):
        responses_request(ask(stop=["x"]))


def test_options_keep_their_meaning() -> None:
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    request = responses_request(
        ask(
            response_format={"type": "json_schema", "json_schema": schema},
            reasoning_effort="high",
            verbosity="low",
            max_tokens=3,
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "look"}},
        )
    )
    assert request["text"] == {"verbosity": "low", "format": {"type": "json_schema", **schema}}
    assert request["reasoning"] == {"effort": "high", "summary": "auto"}
    assert request["max_output_tokens"] == 16
    assert request["tools"][0]["name"] == request["tool_choice"]["name"] == "look"
    assert request["store"] is False


def test_the_reasoning_of_a_response_reaches_its_provider_whole_and_no_other() -> None:
    reasoning = {"effort": "high", "summary": "detailed", "context": "all_turns"}
    asked = ask(reasoning_effort="high", responses_reasoning=reasoning)
    assert responses_request(asked)["reasoning"] == reasoning
    chat = chat_request(asked, Target("p", "openai", "m", base_url="https://api.openai.com/v1"))
    assert "responses_reasoning" not in chat


def test_reasoning_travels_back_as_it_came() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
    message = {
        "role": "assistant",
        "content": "Hm.",
        "thinking_blocks": [{"type": "reasoning_item", "item": item}],
    }
    request = responses_request({"model": "m", "messages": [message]})
    assert [each["type"] for each in request["input"]] == ["reasoning", "message"]
    assert request["input"][0] == item


async def test_the_provider_counts_the_input_of_its_models(responses_gateway: Gateway) -> None:
    short, long = [ask({"text": "word " * number}) for number in (10, 1000)]
    counts = [await responses_gateway.count_input(each) for each in (short, long)]
    assert counts[0] is not None
    assert counts[1] is not None
    assert counts[1] - counts[0] > 900


async def test_a_provider_that_cannot_count_is_no_error(responses_gateway: Gateway) -> None:
    assert (
        await responses_gateway.count_input({"model": "m", "messages": [], "tools": [{"type": "?"}]}) is None
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_custom_tools_are_called_and_take_their_outputs(
    responses_gateway: Gateway, stream: bool
) -> None:
    complete = streamed if stream else Gateway.complete
    tool = {"type": "custom", "custom": {"name": "patch"}}
    call = {"name": "patch", "arguments": {"input": "+ door"}}
    request = ask({"calls": [call]}, {"text": "{tool}!"}, tools=[tool])
    choice = (await complete(responses_gateway, request))["choices"][0]
    called = choice["message"]["tool_calls"][0]
    assert (called["type"], called["custom"]) == ("custom", {"name": "patch", "input": "+ door"})
    assert choice["finish_reason"] == "tool_calls"
    output = {"role": "tool", "tool_call_id": called["id"], "content": "done"}
    second = {**request, "messages": [*request["messages"], choice["message"], output]}
    assert (await complete(responses_gateway, second))["choices"][0]["message"]["content"] == "done!"


def test_a_refusal_travels_back_as_one() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    request = responses_request({"model": "m", "messages": [refused, part]})
    assert [each["content"] for each in request["input"]] == [[{"type": "refusal", "refusal": "No."}]] * 2


class Answers(OpenAIDriver):
    """A provider that answers each request with these bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        return MadeResponse(one_piece(self._body))


async def completed(output: list[JSON]) -> JSON:
    driver = ResponsesDriver(Answers(json.dumps({"output": output}).encode()))
    target = Target("p", "responses", "m", base_url="http://p.example/v1")
    response = await driver.send(target, ProviderRequest("POST", CHAT, ask()))
    completion: JSON = json.loads(await response.read())
    return completion


async def test_logprobs_and_refusals_of_a_whole_answer_come_back() -> None:
    logprobs = [{"token": "Aye", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    text = {"type": "output_text", "text": "Aye", "logprobs": logprobs}
    refusal = {"type": "refusal", "refusal": "But no."}
    choice = (await completed([{"type": "message", "content": [text, refusal]}]))["choices"][0]
    assert choice["logprobs"] == {"content": logprobs, "refusal": None}
    assert (choice["message"]["content"], choice["message"]["refusal"]) == ("Aye", "But no.")


@pytest.mark.parametrize("item", [{"type": "function_call"}, "Aye"])
async def test_an_item_of_another_form_is_the_providers_fault(item: Any) -> None:
    with pytest.raises(ProviderError, match="not in the Responses API's form"):
        await completed([item])


SAID = [
    {"type": "text", "text": "I look.", "phase": "commentary"},
    {"type": "text", "text": "Done.", "phase": "final_answer"},
]


def test_phases_reach_a_provider_that_knows_them_and_no_other() -> None:
    asked = ask() | {"messages": [{"role": "assistant", "content": SAID}]}
    items = responses_request(asked)["input"]
    said = [(each["phase"], each["content"][0]["text"]) for each in items]
    assert said == [("commentary", "I look."), ("final_answer", "Done.")]
    chat = chat_request(asked, Target("p", "litellm", "m"))
    assert chat["messages"] == [{"role": "assistant", "content": "I look.\nDone."}]


async def test_a_message_comes_with_its_phase() -> None:
    item = {"id": "msg_1", "type": "message", "phase": "commentary", "content": []}
    events = [
        {"type": "response.output_item.added", "item": item},
        {"type": "response.output_text.delta", "delta": "I look."},
        {"type": "response.completed", "response": {"status": "completed"}},
    ]
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    target = Target("p", "responses", "m", base_url="http://p.example/v1")
    request = ProviderRequest("POST", CHAT, ask(stream=True))
    response = await ResponsesDriver(Answers(body)).send(target, request)
    frames = (await response.read()).split(b"\n\n")[:-2]
    deltas = [json.loads(frame.removeprefix(b"data: "))["choices"][0]["delta"] for frame in frames]
    assert deltas[:2] == [{"phase": "commentary"}, {"content": "I look."}]


@pytest.mark.parametrize("wire", ["litellm", "openai"])
def test_a_fallback_gets_no_reasoning_of_the_responses_api(wire: Wire) -> None:
    blocks = [{"type": "reasoning_item", "item": {}}, {"type": "thinking", "thinking": "Hm."}]
    request = ask() | {"messages": [{"role": "assistant", "content": "Hm.", "thinking_blocks": blocks}]}
    chat = chat_request(request, Target("p", wire, "m", base_url="http://p.example/v1"))
    assert chat["messages"][0]["thinking_blocks"] == blocks[1:]
    request["messages"][0]["thinking_blocks"] = blocks[:1]
    chat = chat_request(request, Target("p", wire, "m", base_url="http://p.example/v1"))
    assert chat["messages"] == [{"role": "assistant", "content": "Hm."}]
