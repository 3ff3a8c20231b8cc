"""A model's message can be sent back to it through every driver, with what its provider signed."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inference.gateway import ChunkAccumulator, Gateway, Routes
from inference.gateway.answers.thinking import joined
from persistence.types import JSON
from tests.provider import ProviderProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Ask = Callable[..., JSON]

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
THOUGHT = "I think of f."
SIGNATURE = base64.b64encode(f"signed {THOUGHT}".encode()).decode()
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
STEPS = [
    {
        "thinking": THOUGHT,
        "text": "One moment.",
        "images": [PICTURE],
        "calls": [{"name": "f", "arguments": {"x": 1}, "id": "call_1"}],
    },
    {"text": "Done."},
]

SENT_BACK = {
    "anthropic": [
        {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
        {"type": "text", "text": "One moment."},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
    ],
    "gemini": [
        {"thought": True, "text": THOUGHT},
        {"text": "One moment."},
        {"inline_data": {"data": PICTURE, "mime_type": "image/png"}},
        {"function_call": {"name": "f", "args": {"x": 1}}, "thoughtSignature": SIGNATURE},
    ],
    "bedrock": [
        {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": SIGNATURE}}},
        {"text": "One moment."},
        {"toolUse": {"toolUseId": "call_1", "name": "f", "input": {"x": 1}}},
    ],
}
"""What each provider gets of its own message."""


@pytest.fixture
async def gateway(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Gateway]:
    """A gateway to the provider by the APIs of Anthropic, Google and AWS."""
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers:
  any: {{wire: litellm, base_url: "{provider.root}", api_key: any, retries: 0}}
  aws: {{wire: litellm, base_url: "{provider.root}", api_key: any, retries: 0,
        parameters: {{aws_region_name: us-east-1}}}}
models:
  anthropic: {{provider: any, model: anthropic/claude-sonnet-4-5}}
  gemini: {{provider: any, model: gemini/gemini-2.5-flash}}
  bedrock: {{provider: aws, model: "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"}}
""")
    gateway = Gateway(Routes.from_file(path, {}))
    await gateway.open()
    yield gateway
    await gateway.close()


@pytest.fixture
def request_to(tag: str) -> Callable[[str], JSON]:
    """A request with a tool to a model that thinks."""

    def request(model: str) -> JSON:
        script = {"tag": tag, "turns": STEPS}
        fields = {"tools": [TOOL], "reasoning_effort": "low", "max_tokens": 3000}
        return {
            "model": model,
            **fields,
            "messages": [{"role": "user", "content": f"script: {json.dumps(script)}"}],
        }

    return request


async def answered(gateway: Gateway, request: JSON, *, streamed: bool) -> JSON:
    """The message of the first turn."""
    if not streamed:
        message = (await gateway.complete(request))["choices"][0]["message"]
    else:
        accumulator = ChunkAccumulator()
        async for chunk in gateway.chunks(request):
            accumulator.add(chunk)
        message = accumulator.completion()["choices"][0]["message"]
    return dict(message)


async def second_turn(
    gateway: Gateway, request: JSON, message: JSON, provider: ProviderProcess, tag: str
) -> Any:
    """Send the message back with its call's output; return what the provider got of it."""
    output = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}
    answer = await gateway.complete({**request, "messages": [*request["messages"], message, output]})
    assert answer["choices"][0]["message"]["content"] == "Done."
    body = provider.received(tag)[-1]["body"]
    contents = body.get("contents") or body["messages"]
    return contents[1].get("parts") or contents[1]["content"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", SENT_BACK)
async def test_a_message_can_be_sent_back_as_it_was_received(
    gateway: Gateway,
    request_to: Callable[[str], JSON],
    provider: ProviderProcess,
    tag: str,
    model: str,
    streamed: bool,
) -> None:
    request = request_to(model)
    message = await answered(gateway, request, streamed=streamed)
    assert message["content"] == "One moment."
    assert await second_turn(gateway, request, message, provider, tag) == SENT_BACK[model]


async def test_a_signature_in_extra_content_reaches_gemini(
    gateway: Gateway, request_to: Callable[[str], JSON], provider: ProviderProcess, tag: str
) -> None:
    function = {"name": "f", "arguments": '{"x": 1}'}
    signed = {"google": {"thought_signature": SIGNATURE}}
    call = {"id": "call_1", "type": "function", "function": function, "extra_content": signed}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    (part,) = await second_turn(gateway, request_to("gemini"), message, provider, tag)
    assert part["thoughtSignature"] == SIGNATURE


async def test_a_message_from_one_provider_can_be_sent_to_another(
    gateway: Gateway, request_to: Callable[[str], JSON], provider: ProviderProcess, tag: str
) -> None:
    message = await answered(gateway, request_to("gemini"), streamed=False)
    blocks = await second_turn(gateway, request_to("anthropic"), message, provider, tag)
    assert blocks[-1]["name"] == "f"


@pytest.mark.parametrize("model", SENT_BACK)
async def test_lists_in_a_stream_can_be_joined_by_index(
    gateway: Gateway, request_to: Callable[[str], JSON], model: str
) -> None:
    async for chunk in gateway.chunks(request_to(model)):
        for choice in chunk["choices"]:
            assert all(type(entry["index"]) is int for entry in objects_in_lists(choice["delta"]))


def objects_in_lists(value: Any) -> list[JSON]:
    """The objects of every list in `value`, which OpenAI's SDKs join by their `index`."""
    if isinstance(value, dict):
        return [entry for member in value.values() for entry in objects_in_lists(member)]
    if not isinstance(value, list):
        return []
    own = [entry for entry in value if isinstance(entry, dict)]
    return own + [entry for member in value for entry in objects_in_lists(member)]


def test_pieces_of_thinking_are_joined_up_to_their_signature() -> None:
    pieces = [
        {"type": "thinking", "thinking": "a", "signature": None, "index": 0},
        {"type": "thinking", "thinking": "b", "index": 0},
        {"type": "thinking", "signature": "s1", "index": 0},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "c", "signature": "s2"},
        {"type": "thinking", "thinking": "d"},
    ]
    assert joined(pieces) == [
        {"type": "thinking", "thinking": "ab", "signature": "s1"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "c", "signature": "s2"},
        {"type": "thinking", "thinking": "d"},
    ]
    assert joined(joined(pieces)) == joined(pieces)
