"""litellm takes seconds to import, so these tests share one process and one import."""

import inspect
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest

from inference.errors import (
    ProviderBroken,
    ProviderError,
    ProviderLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreadable,
)
from inference.gateway import ChunkAccumulator, Gateway, Routes
from inference.gateway.routing.targets import Target
from persistence.types import JSON
from tests.provider import ProviderProcess

pytestmark = [
    pytest.mark.slow,
    # litellm's own: its models' fields, its clients, its loops.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning"
    ),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEY = "sk-ant-the-operators"
Ask = Callable[..., JSON]


@pytest.fixture
async def claude(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Gateway]:
    """A gateway to the provider over Anthropic's wire."""
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers:
  claude: {{wire: litellm, base_url: "{provider.root}", api_key: "${{KEY}}", retries: 1, read_timeout: 30}}
  openai: {{wire: litellm, base_url: "{provider.url}", api_key: "${{KEY}}", retries: 0, read_timeout: 30}}
  gemini: {{wire: litellm, base_url: "{provider.root}", api_key: "${{KEY}}", retries: 0, read_timeout: 30}}
models:
  any-model: {{provider: claude, model: anthropic/claude-sonnet-4-5}}
  impatient: {{provider: claude, model: anthropic/claude-sonnet-4-5, read_timeout: 1}}
  gemini: {{provider: gemini, model: gemini/gemini-2.5-flash}}
  embedder: {{provider: openai, model: openai/text-embedding-3-small, kind: embedding}}
""")
    gateway = Gateway(Routes.from_file(path, {"KEY": KEY}))
    await gateway.open()
    yield gateway
    await gateway.close()


async def test_an_answer_of_another_api_has_openais_form(
    claude: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    answer = await claude.complete(ask(text="Hello there.", fields={"max_tokens": 50}))
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello there.", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 2
    (record,) = provider.received(tag)
    assert (record["path"], record["headers"]["x-api-key"]) == ("/v1/messages", KEY)


async def test_a_function_call_has_openais_form(claude: Gateway, ask: Ask) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    calls = [{"name": "f", "arguments": {"x": 1}}]
    answer = await claude.complete(ask(calls=calls, fields={"tools": [tool], "max_tokens": 50}))
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "f")
    assert orjson.loads(call["function"]["arguments"]) == {"x": 1}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_stream_has_openais_chunks(claude: Gateway, ask: Ask) -> None:
    accumulator, last = ChunkAccumulator(), b""
    request = ask(text="Hello there.", fields={"stream_options": {"include_usage": True}})
    async for chunk in claude.chunks(request):
        assert chunk["object"] == "chat.completion.chunk"
        assert all("finish_reason" in choice for choice in chunk["choices"])
        accumulator.add(chunk)
    completion = accumulator.completion()
    assert completion["choices"][0]["message"]["content"] == "Hello there."
    assert completion["usage"]["completion_tokens"] == 2
    async for frames in claude.relay(request):
        last = frames
    assert last == b"data: [DONE]\n\n"


async def test_a_stream_that_is_cut_off_ends_with_an_error(claude: Gateway, ask: Ask) -> None:
    frames = [frames async for frames in claude.relay(ask(text="a b c d", close_after=4, delay=0.02))]
    assert b'"error"' in frames[-1]


async def test_closing_a_stream_closes_the_providers_response(
    claude: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    from tests.inference.gateway.test_openai_driver import disconnected

    stream = claude.relay(ask(text="a b c d", stall_after=4, delay=0.02))
    await anext(stream)
    await stream.aclose()
    assert (await disconnected(provider, tag))["ended"] == "disconnected"


@pytest.mark.parametrize(
    ("fail", "kind", "status", "message"),
    [
        ({"status": 400, "message": "odd"}, ProviderRejected, 400, "odd"),
        ({"status": 401, "message": f"bad {KEY}"}, ProviderRejected, 401, "bad "),
        ({"status": 404, "message": "no model"}, ProviderRejected, 404, "no model"),
        ({"status": 429, "message": "slow down"}, ProviderLimited, 429, "slow down"),
        ({"status": 500, "message": "broken"}, ProviderBroken, 500, "broken"),
        ({"status": 0}, ProviderBroken, 500, ""),
    ],
)
async def test_errors_have_the_providers_message_and_no_key(
    claude: Gateway, ask: Ask, fail: JSON, kind: type[ProviderError], status: int, message: str
) -> None:
    for attempt in (claude.complete(ask(fail=fail)), anext(claude.relay(ask(fail=fail)))):
        with pytest.raises(kind) as caught:
            await attempt
        assert caught.value.status == status
        assert caught.value.message.startswith(message)
        assert KEY not in caught.value.message + repr(caught.value.body)
        assert "litellm" not in caught.value.message


@pytest.mark.parametrize("model", ["any-model", "gemini"])
@pytest.mark.parametrize("body", ["garbage", '{"weird": 1}', "[]"])
async def test_garbage_is_a_providers_error(claude: Gateway, ask: Ask, model: str, body: str) -> None:
    with pytest.raises(ProviderUnreadable, match="cannot be read") as caught:
        await claude.complete(ask(model, fail={"status": 200, "body": body}))
    assert caught.value.status == 502


async def test_a_bare_404_names_the_provider_and_the_model(claude: Gateway, ask: Ask) -> None:
    for body in ("404 page not found\n", '{"detail": "Not Found"}'):
        with pytest.raises(
            ProviderRejected, match="The provider 'claude' answered for 'anthropic/"
        ) as caught:
            await claude.complete(ask(fail={"status": 404, "body": body}))
        assert caught.value.message.endswith("with 404 Not Found.")


async def test_silence_is_a_timeout(claude: Gateway, ask: Ask) -> None:
    with pytest.raises(ProviderTimeout):
        await claude.complete(ask("impatient", text="late", wait=30))
    with pytest.raises(ProviderTimeout):
        [chunk async for chunk in claude.chunks(ask("impatient", text="a b c d", stall_after=4))]


async def test_a_failure_before_the_first_byte_is_retried_by_the_gateway_alone(
    claude: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    with pytest.raises(ProviderBroken):
        await claude.complete(ask(fail={"status": 500}))
    assert len(provider.received(tag)) == 2


async def test_embeddings_have_the_requested_encoding(claude: Gateway) -> None:
    request = {"model": "embedder", "input": ["a b", "c"], "dimensions": 4, "encoding_format": "base64"}
    answer = await claude.embed(request)
    assert [type(item["embedding"]) for item in answer["data"]] == [str, str]


async def test_a_base_url_without_a_key_gets_none_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, provider: ProviderProcess, ask: Ask, tag: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-from-the-environment")
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers: {{claude: {{wire: litellm, base_url: "{provider.root}"}}}}
models: {{any-model: {{provider: claude, model: anthropic/claude-sonnet-4-5}}}}
""")
    gateway = Gateway(Routes.from_file(path, {"KEY": KEY}))
    await gateway.open()
    await gateway.complete(ask(text="x"))
    await gateway.close()
    (record,) = provider.received(tag)
    assert "sk-from-the-environment" not in repr(record["headers"])


async def test_every_error_that_litellm_has_is_in_the_table(claude: Gateway) -> None:
    from litellm import exceptions

    from inference.gateway.drivers import litellm_errors

    mapped = tuple(kind for kind, *_ in litellm_errors.CODES)
    errors = [
        error
        for _, error in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(error, Exception) and error.__module__ == exceptions.__name__
    ]
    assert len(errors) > 25
    assert [error.__name__ for error in errors if not issubclass(error, mapped)] == []


async def test_no_entry_of_the_table_is_hidden_by_an_earlier_one(claude: Gateway) -> None:
    from inference.gateway.drivers import litellm_errors

    kinds = [kind for kind, *_ in litellm_errors.CODES]
    hidden = [
        later.__name__
        for place, later in enumerate(kinds)
        if any(issubclass(later, k) for k in kinds[:place])
    ]
    assert hidden == []


def test_litellm_is_imported_only_if_a_route_needs_it() -> None:
    import subprocess

    code = (
        "import asyncio, sys\n"
        "from inference.gateway import Gateway, Routes\n"
        "async def main():\n"
        "    gateway = Gateway(Routes.from_environment('sk', None))\n"
        "    await gateway.open(); gateway.context_window('gpt-4'); await gateway.close()\n"
        "asyncio.run(main())\n"
        "assert 'litellm' not in sys.modules and 'openai' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_key_and_base_url_litellm_uses_the_environment(
    claude: Gateway,
) -> None:
    from inference.gateway.drivers import litellm_driver

    target = Target("p", "litellm", "bedrock/x")
    arguments = litellm_driver._chat_arguments(target, {"model": "bedrock/x", "messages": []})
    assert arguments.keys().isdisjoint({"api_key", "api_base"})


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_of_several_lines_keeps_its_words(claude: Gateway, ask: Ask, streamed: bool) -> None:
    request = ask(fail={"status": 400, "message": "First line\nsecond line: 'quoted'"})
    with pytest.raises(ProviderRejected) as caught:
        await (anext(claude.relay(request)) if streamed else claude.complete(request))
    assert caught.value.message == "First line\nsecond line: 'quoted'"


async def test_an_unsupported_parameter_is_named(claude: Gateway, ask: Ask) -> None:
    with pytest.raises(ProviderRejected) as caught:
        await claude.complete(ask(text="x", fields={"logit_bias": {"7": 1}}))
    assert (caught.value.status, caught.value.body["param"]) == (400, "logit_bias")
    assert caught.value.body["code"] == "unsupported_parameter"
    assert "'logit_bias'" in caught.value.message
    assert "litellm" not in caught.value.message.lower()


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_overloaded_provider_is_503(claude: Gateway, ask: Ask, streamed: bool) -> None:
    body = '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    request = ask(fail={"status": 529, "body": body})
    with pytest.raises(ProviderBroken) as caught:
        await (anext(claude.relay(request)) if streamed else claude.complete(request))
    assert (caught.value.status, caught.value.message) == (503, "Overloaded")
    assert (caught.value.body["type"], caught.value.body["code"]) == ("server_error", "overloaded")


@pytest.mark.parametrize("streamed", [False, True])
async def test_geminis_429_keeps_its_words_and_retry_after(claude: Gateway, ask: Ask, streamed: bool) -> None:
    body = '[{"error": {"code": 429, "message": "Quota exceeded.\\nTry later.", "status": "RESOURCE_EXHAUSTED"}}]'
    request = ask("gemini", fail={"status": 429, "body": body, "retry_after": 33})
    with pytest.raises(ProviderLimited) as caught:
        await (anext(claude.relay(request)) if streamed else claude.complete(request))
    assert (caught.value.status, caught.value.message) == (429, "Quota exceeded.\nTry later.")
    assert caught.value.retry_after == 33


@pytest.mark.parametrize("status", [403, 404, 500, 502])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_page_of_html_and_class_names_never_reach_a_client(
    claude: Gateway, ask: Ask, status: int, streamed: bool
) -> None:
    request = ask(fail={"status": status, "body": "<html><h1>nginx says no</h1></html>"})
    with pytest.raises(ProviderError) as caught:
        await (anext(claude.relay(request)) if streamed else claude.complete(request))
    shown = f"{caught.value.message} {caught.value.body}"
    assert not any(word in shown for word in ("<", "nginx", "Exception", "litellm", "Traceback", "http"))
    assert "'claude'" in caught.value.message


async def test_encoding_format_is_not_sent_unless_asked_for(
    claude: Gateway, provider: ProviderProcess, tag: str
) -> None:
    await claude.embed({"model": "embedder", "input": f'script: {{"tag": "{tag}"}}'})
    (record,) = provider.received(tag)
    assert record["body"].get("encoding_format") in (None, "float")


@pytest.mark.parametrize("name", ["api_base", "mock_response", "timeout", "extra_body"])
async def test_unknown_fields_never_become_litellms_arguments(claude: Gateway, ask: Ask, name: str) -> None:
    with pytest.raises(ProviderRejected) as caught:
        await claude.complete(ask(text="True.", fields={name: "x"}))
    assert (caught.value.body["param"], caught.value.body["code"]) == (name, "unknown_parameter")


async def test_fields_of_the_providers_own_reach_it_and_others_are_refused_by_name(
    claude: Gateway, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    fields = {"top_k": 5, "container": "container_1", "max_tokens": 50}
    await claude.complete(ask(text="True.", fields=fields))
    (record,) = provider.received(tag)
    assert (record["body"]["top_k"], record["body"]["container"]) == (5, "container_1")
    with pytest.raises(ProviderRejected) as caught:
        await claude.complete(ask(text="True.", fields={"mock_response": "mocked"}))
    assert (caught.value.status, caught.value.body["param"]) == (400, "mock_response")
    assert len(provider.received(tag)) == 1


async def test_a_message_with_unknown_members_can_be_sent_back(claude: Gateway, ask: Ask) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    request = ask(calls=[{"name": "f", "arguments": {}}], fields={"tools": [tool], "max_tokens": 50})
    (choice,) = (await claude.complete(request))["choices"]
    message = {
        **choice["message"],
        "images": [],
        "thinking_blocks": None,
        "annotations": None,
        "provider_specific_fields": {"x": 1},
        "parsed": None,
    }
    (call,) = message["tool_calls"]
    call["index"] = 0
    call["extra_content"] = {"google": {"thought_signature": "abc"}}
    call["function"]["parsed_arguments"] = {}
    result = {"role": "tool", "tool_call_id": call["id"], "name": "f", "content": "sunny"}
    again = {**request, "messages": [*request["messages"], message, result]}
    answer = await claude.complete(again)
    assert answer["choices"][0]["message"]["content"] == "The script has ended."


VECTOR = '{"data": [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}], "usage": {}}'
WATSONX = '{"results": [{"embedding": [0.6, 0.8]}], "input_token_count": 2}'
EMBEDDERS = {
    "huggingface/BAAI/bge-small-en-v1.5": ("/embeddings", "input_type: feature-extraction", "[[0.6, 0.8]]"),
    "jina_ai/jina-embeddings-v3": ("/v1", "", VECTOR),
    "ollama/nomic-embed-text": ("", "", '{"embeddings": [[0.6, 0.8]], "prompt_eval_count": 2}'),
    "voyage/voyage-3": ("/v1/embeddings", "", VECTOR),
    "watsonx/ibm/slate-30m-english-rtrvr": ("", "project_id: p", WATSONX),
}
"""Models of other APIs: what follows the provider's root, litellm's parameters, and an answer."""


@pytest.mark.parametrize("model", EMBEDDERS)
@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "base64"}])
async def test_providers_that_take_no_encoding_format_get_none(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    provider: ProviderProcess,
    tag: str,
    model: str,
    encoding: JSON,
) -> None:
    monkeypatch.setenv("WATSONX_TOKEN", "a-token")  # or litellm would ask IBM for one
    path, parameters, answer = EMBEDDERS[model]
    routes = tmp_path / "models.yaml"
    routes.write_text(f"""
providers: {{p: {{wire: litellm, base_url: "{provider.root}{path}", parameters: {{{parameters}}}}}}}
models: {{embedder: {{provider: p, model: {model}, kind: embedding}}}}
""")
    gateway = Gateway(Routes.from_file(routes, {}))
    await gateway.open()
    script = {"tag": tag, "turns": [{"raw": answer, "content_type": "application/json"}]}
    request = {"model": "embedder", "input": f"script: {orjson.dumps(script).decode()}", **encoding}
    (embedded,) = (await gateway.embed(request))["data"]
    await gateway.close()
    assert isinstance(embedded["embedding"], str if encoding else list)
    (record,) = provider.received(tag)
    assert "encoding_format" not in orjson.dumps(record["body"]).decode()
