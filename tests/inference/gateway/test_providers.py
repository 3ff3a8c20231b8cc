"""Providers through litellm, on their own wires."""

import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ProviderBroken, ProviderError
from inference.gateway import Gateway
from persistence.types import JSON
from tests.inference.gateway.providers import PROVIDERS, TOOL, answered, gateway_to, scripted
from tests.provider import ProviderProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
THOUGHT = "I think of f."

everywhere = pytest.mark.parametrize("model", PROVIDERS)
both_ways = pytest.mark.parametrize("streamed", [False, True])


@pytest.fixture
async def gateway(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Gateway]:
    gateway = await gateway_to(provider.root, tmp_path)
    yield gateway
    await gateway.close()


@everywhere
@both_ways
async def test_an_answer_has_openais_form(gateway: Gateway, tag: str, model: str, streamed: bool) -> None:
    answer = await answered(gateway, scripted(model, tag, {"text": "Hello there."}), streamed=streamed)
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], choice["index"]) == ("stop", 0)
    assert choice["message"] == {"role": "assistant", "content": "Hello there.", "refusal": None}
    assert answer["usage"]["completion_tokens"] == 2


@everywhere
@both_ways
async def test_calls_in_parallel_and_in_two_rounds_with_what_was_thought(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str, streamed: bool
) -> None:
    calls = [{"name": "f", "arguments": {"x": x}, "id": f"abcdefgh{x}"} for x in range(3)]
    turns = [
        {"thinking": THOUGHT, "text": "One moment.", "calls": calls[:2]},
        {"thinking": "Again.", "calls": calls[2:]},
        {"text": "Done."},
    ]
    request = scripted(model, tag, *turns, tools=[TOOL], max_tokens=3000)
    if model != "cohere":
        request["reasoning_effort"] = "low"
    arguments = []
    for number in range(3):
        answer = await answered(gateway, request, streamed=streamed)
        (choice,) = answer["choices"]
        message = choice["message"]
        made = message.get("tool_calls", [])
        assert choice["finish_reason"] == ("tool_calls" if made else "stop")
        assert [call.keys() - {"provider_specific_fields"} for call in made] == [
            {"id", "type", "function"} for _ in made
        ]
        assert message.get("reasoning_content") == [THOUGHT, "Again.", None][number]
        arguments.append([json.loads(call["function"]["arguments"])["x"] for call in made])
        outputs = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in made]
        request = {**request, "messages": [*request["messages"], message, *outputs]}
    assert arguments == [[0, 1], [2], []]
    assert message["content"] == "Done."
    assert request["messages"][1]["content"] == "One moment."
    assert len(provider.received(tag)) == 3


async def test_embeddings_of_a_provider_without_any_are_not_offered(gateway: Gateway) -> None:
    with pytest.raises(ProviderBroken) as caught:
        await gateway.embed({"model": "anthropic", "input": "x"})
    assert (caught.value.status, caught.value.body["code"]) == (501, "not_implemented")
    assert caught.value.body["message"] == "This server has no 'POST /embeddings' for the provider 'any'."


@everywhere
async def test_an_image_reaches_the_provider(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str
) -> None:
    request = scripted(model, tag, {"text": "A picture."})
    text = {"type": "text", "text": request["messages"][0]["content"]}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    await gateway.complete({**request, "messages": [{"role": "user", "content": [text, image]}]})
    assert PICTURE in json.dumps(provider.received(tag)[0]["body"])


@everywhere
async def test_a_call_with_any_id_can_be_sent_to_any_provider(gateway: Gateway, tag: str, model: str) -> None:
    call = {"id": "call_" + "x" * 30, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = scripted(model, tag, {"text": "One."}, {"text": "Two."}, tools=[TOOL])
    turn = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    answer = await gateway.complete({**request, "messages": [*request["messages"], *turn]})
    assert answer["choices"][0]["message"]["content"] == "Two."


@everywhere
async def test_equal_calls_keep_their_outputs(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str
) -> None:
    function = {"name": "f", "arguments": '{"x": 1}'}
    calls = [{"id": f"abcdefgh{x}", "type": "function", "function": function} for x in range(3)]
    calls[1] = {**calls[1], "function": {"name": "f", "arguments": '{"x": 2}'}}
    request = scripted(model, tag, {"text": "One."}, {"text": "Two."}, {"text": "Three."}, tools=[TOOL])
    outputs = [{"role": "tool", "tool_call_id": f"abcdefgh{x}", "content": f"output{x}"} for x in range(3)]
    turn = [{"role": "assistant", "content": None, "tool_calls": calls}, *outputs]
    await gateway.complete({**request, "messages": [*request["messages"], *turn]})
    body = json.dumps(provider.received(tag)[0]["body"])
    assert [body.count(f"output{x}") for x in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("model", ["anthropic", "bedrock"])
async def test_claude_answers_behind_calls_that_it_did_not_sign(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    fields = {"tools": [TOOL], "reasoning_effort": "low", "max_tokens": 3000}
    request = scripted(model, tag, {"text": "One."}, {"thinking": THOUGHT, "text": "Two."}, **fields)
    turn = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    await gateway.complete({**request, "messages": [*request["messages"], *turn]})
    await gateway.complete(request)
    unsigned, fresh = (json.dumps(record["body"]) for record in provider.received(tag))
    assert ('"budget_tokens"' in unsigned, '"budget_tokens"' in fresh) == (False, True)


# --- errors ---

ERRORS: dict[str, list[tuple[int, Any, tuple[int, str | None]]]] = {
    "anthropic": [
        (401, ("authentication_error", "invalid x-api-key"), (401, "invalid_api_key")),
        (403, ("permission_error", "No permission for this model"), (403, None)),
        (404, ("not_found_error", "model: claude-none"), (404, "model_not_found")),
        (429, ("rate_limit_error", "This request would exceed your limit"), (429, "rate_limit_exceeded")),
        (529, ("overloaded_error", "Overloaded"), (503, "overloaded")),
        (500, ("api_error", "Something broke on our side"), (500, None)),
        (
            400,
            ("invalid_request_error", "prompt is too long: 212345 tokens > 200000 maximum"),
            (400, "context_length_exceeded"),
        ),
        (
            400,
            ("invalid_request_error", "Output blocked by content filtering policy"),
            (400, "content_policy_violation"),
        ),
    ],
    "gemini": [
        (
            400,
            ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
            (401, "invalid_api_key"),
        ),
        (403, ("PERMISSION_DENIED", "Permission denied on resource"), (403, None)),
        (404, ("NOT_FOUND", "models/none is not found for API version v1beta"), (404, "model_not_found")),
        (429, ("RESOURCE_EXHAUSTED", "You exceeded your current quota"), (429, "rate_limit_exceeded")),
        (503, ("UNAVAILABLE", "The model is overloaded. Please try again later."), (503, None)),
        (
            400,
            (
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            (400, "context_length_exceeded"),
        ),
    ],
    "bedrock": [
        (403, "The security token included in the request is invalid.", (403, None)),
        (404, "The model none was not found.", (404, "model_not_found")),
        (429, "Too many requests, please wait before trying again.", (429, "rate_limit_exceeded")),
        (503, "Bedrock is unable to process your request.", (503, None)),
        (400, "Input is too long for requested model.", (400, "context_length_exceeded")),
    ],
    "cohere": [
        (401, "invalid api token", (401, "invalid_api_key")),
        (404, "model 'none' not found", (404, "model_not_found")),
        (429, "You are past the per minute request limit, please wait.", (429, "rate_limit_exceeded")),
        (503, "service unavailable for now", (503, None)),
        (
            400,
            "too many tokens: size limit exceeded by 100 tokens. Try using shorter or fewer inputs.",
            (400, "context_length_exceeded"),
        ),
    ],
    "mistral": [
        (401, "Unauthorized: bad key", (401, "invalid_api_key")),
        (404, "Model none does not exist", (404, "model_not_found")),
        (429, "Requests rate limit exceeded", (429, "rate_limit_exceeded")),
        (503, "Service unavailable, try again", (503, None)),
        (
            400,
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            (400, "context_length_exceeded"),
        ),
    ],
}
"""What each provider answers, and the status and code that a client gets."""


def body_of(model: str, status: int, words: Any) -> JSON:
    match model, words:
        case "anthropic", (kind, message):
            return {"type": "error", "error": {"type": kind, "message": message}}
        case "gemini", (kind, message):
            return {"error": {"code": status, "message": message, "status": kind}}
        case "mistral", message:
            return {"object": "error", "message": message, "type": "odd", "param": None, "code": "3051"}
        case _, message:
            return {"message": message}


@both_ways
@pytest.mark.parametrize(
    ("model", "status", "words", "expected"),
    [(model, *case) for model, cases in ERRORS.items() for case in cases],
)
async def test_an_error_has_openais_status_type_and_code_in_the_providers_words(
    gateway: Gateway,
    provider: ProviderProcess,
    tag: str,
    model: str,
    status: int,
    words: Any,
    expected: tuple[int, str | None],
    streamed: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fail = {"status": status, "body": json.dumps(body_of(model, status, words)), "retry_after": 33}
    with pytest.raises(ProviderError) as caught:
        await answered(gateway, scripted(model, tag, {"fail": fail}), streamed=streamed)
    error = caught.value
    assert (error.status, error.body["code"]) == expected
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    assert error.body["type"] == ("requests" if error.status == 429 else kind)
    assert error.message == (words[1] if isinstance(words, tuple) else words)
    if error.status in (429, 503):
        assert error.retry_after == 33
    assert len(provider.received(tag)) == 1  # litellm does not retry by itself
    assert capfd.readouterr() == ("", "")


FILTERED = [
    ("anthropic", "refusal"),
    ("bedrock", "guardrail_intervened"),
    ("bedrock", "content_filtered"),
    ("gemini", "SAFETY"),
    ("gemini", "PROHIBITED_CONTENT"),
    ("mistral", "content_filter"),
]


@both_ways
@pytest.mark.parametrize(("model", "reason"), FILTERED)
async def test_an_answer_that_a_filter_ends_says_so(
    gateway: Gateway, tag: str, model: str, reason: str, streamed: bool
) -> None:
    request = scripted(model, tag, {"text": "I will", "finish_reason": reason})
    (choice,) = (await answered(gateway, request, streamed=streamed))["choices"]
    assert choice["finish_reason"] == "content_filter"
    kept = None if model == "gemini" and not streamed else "I will"  # litellm leaves out a blocked text
    assert choice["message"]["content"] == kept


@both_ways
async def test_a_prompt_that_gemini_blocks_is_filtered(gateway: Gateway, tag: str, streamed: bool) -> None:
    usage = {"promptTokenCount": 3, "totalTokenCount": 3}
    body = json.dumps({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage})
    raw = f"data: {body}\n\n" if streamed else body
    kind = "text/event-stream" if streamed else "application/json"
    request = scripted("gemini", tag, {"raw": raw, "content_type": kind})
    (choice,) = (await answered(gateway, request, streamed=streamed))["choices"]
    assert choice["finish_reason"] == "content_filter"


async def test_the_delay_in_geminis_body_is_the_retry_after(gateway: Gateway, tag: str) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33.5s"}]
    error = {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED", "details": details}
    request = scripted("gemini", tag, {"fail": {"status": 429, "body": json.dumps({"error": error})}})
    with pytest.raises(ProviderError) as caught:
        await gateway.complete(request)
    assert caught.value.retry_after == 33.5


@everywhere
@both_ways
async def test_an_error_in_the_middle_of_an_answer_fails_it(
    gateway: Gateway, tag: str, model: str, streamed: bool
) -> None:
    turn = {"text": "a b c d", "close_after": 1} if streamed else {"raw": '{"x', "reset": True}
    with pytest.raises(ProviderError) as caught:
        await answered(gateway, scripted(model, tag, turn), streamed=streamed)
    assert caught.value.status >= 500


@everywhere
async def test_a_redirect_is_not_followed(
    gateway: Gateway, provider: ProviderProcess, tag: str, model: str
) -> None:
    elsewhere = {"location": f"{provider.root}/elsewhere"}
    turn = {"raw": "", "status": 307, "headers": elsewhere, "content_type": "text/plain"}
    with pytest.raises(ProviderError):
        await gateway.complete(scripted(model, tag, turn))
    assert [each["path"] for each in provider.received(tag)].count("/elsewhere") == 0
    assert len(provider.received(tag)) == 1


def test_litellm_asks_no_other_host_and_writes_nothing() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.inference.gateway.litellm_audit"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert (json.loads(done.stdout), done.stderr) == (["127.0.0.1"], "")


def test_a_closed_gateway_leaves_no_connection() -> None:
    """In a process of its own: others' event loops leave connections here, which are closed at any time."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.inference.gateway.connections"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    counts = json.loads(done.stdout)
    assert counts.keys() == set(PROVIDERS)
    for before, meanwhile, after in counts.values():
        assert before == after < meanwhile
