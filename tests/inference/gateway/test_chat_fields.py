"""What becomes of each field of a chat request, by the API that its provider speaks.

A field that a new edition brings fails here until it is decided for every provider.
"""

import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ProviderRejected
from inference.gateway import Gateway
from inference.gateway.chat_fields import DEFAULTS, HINTS, for_local
from inference.gateway.drivers.responses_requests import responses_request
from inference.gateway.requests import CHAT_FIELDS, chat_request
from inference.gateway.routing.targets import Target
from persistence.types import JSON
from tests.inference.gateway.providers import PROVIDERS, TOOL, answered, gateway_to, scripted
from tests.provider import ProviderProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning"
    ),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
VALUES: JSON = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "f"},
    "functions": [FUNCTION],
    "logit_bias": {"7": 1},
    "logprobs": True,
    "max_completion_tokens": 77,
    "max_tokens": 78,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"ttl": "30m"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
    },
    "safety_identifier": "s",
    "seed": 7,
    "service_tier": "flex",
    "stop": ["END"],
    "temperature": 0.3,
    "tool_choice": "required",
    "tools": [TOOL],
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}
"""A value of each field that asks for something."""

SERVERS = {
    "messages": "every request has them",
    "model": "names the route",
    "store": "the completion is stored here",
    "stream": "every provider streams",
    "stream_options": "the usage is added here where the provider has none",
}
"""Fields whose meaning is the server's own."""

NEEDS: JSON = {
    "parallel_tool_calls": {"tools": [TOOL]},
    "tool_choice": {"tools": [TOOL]},
    "top_logprobs": {"logprobs": True},
}
"""What a field must come with; without it where the provider refuses that."""

IN_ANSWERS = {"parallel_tool_calls": ("gemini", "cohere")}
"""Fields that change what is kept of a provider's answers, not its requests."""

SENT, CHANGED, REFUSED, HINT = "sent", "changed", "refused", "hint"

WIRES = ("openai", "responses", "local", *PROVIDERS)


def documented() -> dict[str, tuple[str, ...]]:
    """Return what CHAT.md says of each field, one word for each of WIRES."""
    text = (Path(__file__).parents[3] / "CHAT.md").read_text()
    first, *rows = [line for line in text.partition("## Parts")[0].splitlines() if line.startswith("| ")]
    assert re.findall(r"[^ |]+", first)[1:] == list(WIRES)
    cells = (re.findall(r"[^ |`]+", row) for row in rows)
    return {name: tuple(words) for name, *words in cells}


TABLE = documented()
"""What becomes of each field: one entry for each of WIRES."""


@pytest.fixture
async def gateway(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Gateway]:
    gateway = await gateway_to(provider.root, tmp_path)
    yield gateway
    await gateway.close()


def test_every_field_of_the_edition_is_decided() -> None:
    assert TABLE.keys() | SERVERS.keys() == CHAT_FIELDS  # which another test compares with the edition
    assert TABLE.keys() == VALUES.keys()
    assert all(len(outcomes) == len(WIRES) for outcomes in TABLE.values())
    assert {name for name, outcomes in TABLE.items() if HINT in outcomes} == HINTS
    assert not any(VALUES[name] in values for name, values in DEFAULTS.items() if name in VALUES)


def outcome(name: str, without: JSON, sent: JSON) -> str:
    if sent.get(name) == VALUES[name]:
        return SENT
    return HINT if sent == without else CHANGED


def made(wire: str, request: JSON) -> JSON:
    """Return the request as a wire without litellm sends it."""
    target = Target("p", "openai", "m", base_url="https://api.openai.com/v1")
    match wire:
        case "responses":
            return responses_request(chat_request(request, replace(target, wire="responses")))
        case "local":
            return for_local(chat_request(request, Target("local", "local", "local")))
        case _:
            return chat_request(request, target)


@pytest.mark.parametrize("wire", WIRES[:3])
@pytest.mark.parametrize("name", VALUES)
def test_a_field_of_a_request_that_this_server_makes(name: str, wire: str) -> None:
    request = scripted("m", "", **NEEDS.get(name, {}))
    try:
        found = outcome(name, made(wire, request), made(wire, {**request, name: VALUES[name]}))
    except ProviderRejected as exc:
        assert (exc.status, exc.body["param"]) == (400, name)
        found = REFUSED
    assert found == TABLE[name][WIRES.index(wire)]


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize("name", VALUES)
async def test_a_field_of_a_request_that_litellm_makes(
    gateway: Gateway, provider: ProviderProcess, tag: str, name: str, model: str
) -> None:
    async def sent(fields: JSON) -> JSON:
        await gateway.complete(scripted(model, tag, {"text": "x"}, **fields))
        return dict(provider.received(tag)[-1]["body"])

    needed = NEEDS.get(name, {}) if name != "top_logprobs" or model == "gemini" else {}
    try:
        found = outcome(name, await sent(needed), await sent({**needed, name: VALUES[name]}))
    except ProviderRejected as exc:
        assert (exc.status, exc.body["param"]) == (400, name)
        found = REFUSED
    if model in IN_ANSWERS.get(name, ()):
        assert found == HINT
        found = CHANGED
    assert found == TABLE[name][WIRES.index(model)]


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name not in SERVERS])
@pytest.mark.parametrize("model", PROVIDERS)
async def test_a_value_that_asks_for_what_happens_anyway_is_refused_nowhere(
    gateway: Gateway, tag: str, name: str, model: str
) -> None:
    for value in DEFAULTS[name]:
        await gateway.complete(scripted(model, tag, {"text": "x"}, **{name: value}))


# --- values ---


async def body_of(gateway: Gateway, provider: ProviderProcess, tag: str, model: str, **fields: Any) -> str:
    """Return what the provider gets, as JSON."""
    await gateway.complete(scripted(model, tag, {"text": "x"}, **fields))
    return json.dumps(provider.received(tag)[-1]["body"])


OTHER = {**TOOL, "function": {**TOOL["function"], "name": "other"}}  # type: ignore[dict-item]
BY_NAME = {"type": "function", "function": {"name": "f"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [BY_NAME]}}


@pytest.mark.parametrize("model", PROVIDERS)
async def test_a_named_function_is_the_only_one_that_can_be_called(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str
) -> None:
    body = await body_of(gateway, provider, tag, model, tools=[TOOL, OTHER], tool_choice=BY_NAME)
    assert body.count('"f"') + (model in ("cohere", "mistral")) >= 2
    assert ('"other"' in body) == (model not in ("cohere", "mistral"))


@pytest.mark.parametrize("model", PROVIDERS)
async def test_tools_that_are_not_allowed_are_not_offered(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str
) -> None:
    body = await body_of(gateway, provider, tag, model, tools=[TOOL, OTHER], tool_choice=ALLOWED)
    assert ('"f"' in body, '"other"' in body) == (True, False)
    assert any(word in body.lower() for word in ('"any"', '"required"'))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", IN_ANSWERS["parallel_tool_calls"])
async def test_a_model_that_calls_in_parallel_against_the_request_makes_one_call(
    gateway: Gateway, tag: str, model: str, streamed: bool
) -> None:
    calls = [{"name": "f", "arguments": {"x": x}, "id": f"abcdefgh{x}"} for x in range(3)]
    turns = [{"thinking": "Hm.", "text": "One moment.", "calls": calls}, {"text": "Done."}]
    request = scripted(model, tag, *turns, tools=[TOOL], parallel_tool_calls=False)
    answer = await answered(gateway, request, streamed=streamed)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"x": 0}
    output = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    request["messages"] += [choice["message"], output]
    answer = await answered(gateway, request, streamed=streamed)
    assert answer["choices"][0]["message"]["content"] == "Done."


@pytest.mark.parametrize("model", PROVIDERS)
async def test_custom_tools_are_refused_where_there_are_none(gateway: Gateway, tag: str, model: str) -> None:
    tools = [{"type": "custom", "custom": {"name": "c"}}]
    with pytest.raises(ProviderRejected, match="does not support custom tools") as caught:
        await gateway.complete(scripted(model, tag, {"text": "x"}, tools=tools))
    assert caught.value.body["param"] == "tools"


@pytest.mark.parametrize("model", PROVIDERS)
async def test_json_without_a_schema_is_asked_for(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str
) -> None:
    body = await body_of(gateway, provider, tag, model, response_format={"type": "json_object"})
    assert any(word in body for word in ("json_object", "application/json", "Answer with one JSON object"))


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh"])
@pytest.mark.parametrize("model", PROVIDERS)
async def test_every_effort_is_taken_or_refused_by_name(
    gateway: Gateway, tag: str, model: str, effort: str
) -> None:
    try:
        await gateway.complete(scripted(model, tag, {"text": "x"}, reasoning_effort=effort))
    except ProviderRejected as exc:
        assert exc.body["param"] == "reasoning_effort"
        assert (model, effort) == ("mistral", "none") or model == "cohere"


# --- parts ---

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PDF = base64.b64encode(b"%PDF-1.4 " + bytes(40)).decode()
WAV = base64.b64encode(b"RIFF" + bytes(40)).decode()
PART_VALUES: dict[str, tuple[JSON, str]] = {
    "image_url": ({"url": f"data:image/png;base64,{PNG}"}, PNG),
    "input_audio": ({"data": WAV, "format": "wav"}, WAV),
    "file": ({"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}, PDF),
}
PART_TABLE = {
    "image_url": PROVIDERS,
    "input_audio": ("gemini",),
    "file": ("anthropic", "gemini", "bedrock"),
}
"""The providers that take a part."""


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize("type", PART_VALUES)
async def test_a_part_reaches_its_provider_or_is_refused_by_name(
    gateway: Gateway, provider: ProviderProcess, tag: str, type: str, model: str
) -> None:
    value, mark = PART_VALUES[type]
    request = scripted(model, tag, {"text": "x"})
    text = {"type": "text", "text": request["messages"][0]["content"]}
    request["messages"][0]["content"] = [text, {"type": type, type: value}]
    if model in PART_TABLE[type]:
        await gateway.complete(request)
        assert mark in json.dumps(provider.received(tag)[-1]["body"])
        return
    with pytest.raises(ProviderRejected, match=type) as caught:
        await gateway.complete(request)
    assert caught.value.body["param"] == "messages[0].content[1]"
