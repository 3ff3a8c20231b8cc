"""Assistants' runs and responses on models of five providers, each on its own wire."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from persistence.types import JSON
from tests.inference.gateway.providers import PROVIDERS, TOOL, models_yaml
from tests.provider import ProviderProcess
from tests.server import Server

pytestmark = [pytest.mark.server, pytest.mark.slow]

CALLS = [{"name": "f", "arguments": {"x": x}} for x in (1, 2)]
FIRST = {"thinking": "I think.", "text": "One moment.", "calls": CALLS}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    """A server of the five providers' models."""
    folder = tmp_path_factory.mktemp("models")
    path = folder / "models.yaml"
    path.write_text(models_yaml(provider.root))
    with Server(folder, ASTROLABE_MODELS=str(path), KEY="sk-the-operators-own") as server:
        yield server


@pytest.fixture
def api(models: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer any", "OpenAI-Beta": "assistants=v2"}
    with httpx.Client(base_url=models.url, headers=headers, timeout=60) as client:
        yield client


def post(api: httpx.Client, path: str, **body: Any) -> JSON:
    answer = api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def events(api: httpx.Client, path: str, **body: Any) -> list[JSON]:
    with api.stream("POST", path, json={**body, "stream": True}) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def question(tag: str) -> str:
    turns = [FIRST, {"text": "It is sunny."}]
    return f"script: {json.dumps({'tag': tag, 'turns': turns})}"


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_run_calls_a_function_and_ends_with_an_answer(api: httpx.Client, tag: str, model: str) -> None:
    assistant = post(api, "assistants", model=model, tools=[TOOL])
    messages = [{"role": "user", "content": question(tag)}]
    thread = post(api, "threads", messages=messages)
    runs = f"threads/{thread['id']}/runs"
    run = events(api, runs, assistant_id=assistant["id"])[-1]
    assert run["status"] == "requires_action", run["last_error"]
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"x": 1}, {"x": 2}]
    outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]
    path = f"{runs}/{run['id']}/submit_tool_outputs"
    run = events(api, path, tool_outputs=outputs)[-1]
    assert run["status"] == "completed", run["last_error"]
    newest = api.get(f"threads/{thread['id']}/messages").json()["data"][0]
    assert newest["content"][0]["text"]["value"] == "It is sunny."


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", PROVIDERS)
def test_a_response_calls_a_function_and_ends_with_an_answer(
    api: httpx.Client, tag: str, model: str, streamed: bool
) -> None:
    def respond(**body: Any) -> JSON:
        request = {"model": model, "tools": [{"type": "function", **TOOL["function"]}], **body}  # type: ignore[dict-item]
        if not streamed:
            return post(api, "responses", **request)
        return dict(events(api, "responses", **request)[-1]["response"])

    first = respond(input=question(tag))
    calls = [item for item in first["output"] if item["type"] == "function_call"]
    assert [json.loads(call["arguments"]) for call in calls] == [{"x": 1}, {"x": 2}]
    outputs = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"} for call in calls
    ]
    second = respond(input=outputs, previous_response_id=first["id"])
    assert second["status"] == "completed"
    (message,) = [item for item in second["output"] if item["type"] == "message"]
    assert message["content"][0]["text"] == "It is sunny."


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_rate_limit_reaches_the_client_as_openais(api: httpx.Client, tag: str, model: str) -> None:
    script = {"tag": tag, "turns": [{"fail": {"status": 429, "retry_after": 33, "message": "Too fast"}}]}
    messages = [{"role": "user", "content": f"script: {json.dumps(script)}"}]
    answer = api.post("chat/completions", json={"model": model, "messages": messages})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "33")
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", PROVIDERS)
def test_what_codex_and_agents_send_with_each_request_is_refused_by_none(
    api: httpx.Client, model: str, streamed: bool
) -> None:
    body = {
        "model": model,
        "input": [{"role": "user", "content": f"script: {json.dumps({'turns': [{'text': 'Hello.'}]})}"}],
        "tools": [
            {"type": "function", "strict": False, **TOOL["function"]},  # type: ignore[dict-item]
            {
                "type": "custom",
                "name": "apply_patch",
                "format": {"type": "grammar", "syntax": "lark", "definition": "a"},
            },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "explicit"},
        "safety_identifier": "s",
        "service_tier": "auto",
        "client_metadata": {"thread_id": "t"},
    }
    response = (
        events(api, "responses", **body)[-1]["response"] if streamed else post(api, "responses", **body)
    )
    assert response["output"][-1]["content"][0]["text"] == "Hello."
