"""What Codex sends with each request, as recorded of 0.169."""

import json

import httpx
import pytest

from persistence.types import JSON

pytestmark = pytest.mark.server

EXEC = {
    "type": "function",
    "name": "exec_command",
    "description": "Runs a command in a PTY.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
}
AGENTS = {
    "type": "namespace",
    "name": "multi_agent_v1",
    "description": "Tools for spawning and managing sub-agents.",
    "tools": [{**EXEC, "name": "close_agent"}],
}
SEARCH = {"type": "web_search", "external_web_access": True}


def request(*turns: JSON, **fields: object) -> JSON:
    script = "script: " + json.dumps({"turns": turns})
    text = {"type": "input_text", "text": script}
    return {
        "model": "any-model",
        "input": [
            {
                "type": "message",
                "id": "msg_1-2",
                "role": "developer",
                "content": [{**text, "text": "Be short."}],
            },
            {"type": "message", "id": "msg_3-4", "role": "user", "content": [text]},
        ],
        "tools": [EXEC, AGENTS, SEARCH],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "01a21782-1474-7032-a29b-698e411a4f7f",
        "client_metadata": {"thread_id": "01a21782-1474-7032-a29b-698e411a4f7f"},
        **fields,
    }


def test_a_request_of_codex_is_served(http: httpx.Client) -> None:
    call = {"name": "exec_command", "arguments": {"cmd": "ls"}}
    answer = http.post("responses", json=request({"calls": [call]}))
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["output"]
    assert item["type"] == "function_call"
    assert item["name"] == "exec_command"


def test_codex_may_offer_a_web_search_that_the_server_does_not_run(http: httpx.Client) -> None:
    answer = http.post("responses", json=request({"text": "Hello."}))
    assert [tool["type"] for tool in answer.json()["tools"]] == ["function", "namespace", "web_search"]


def test_a_web_search_of_another_client_is_refused(http: httpx.Client) -> None:
    answer = http.post("responses", json=request({"text": "Hello."}, tools=[{"type": "web_search"}]))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "The tool 'web_search' is not available on this server: its operator has named no search service "
        "(ASTROLABE_SEARCH_SERVICE)."
    )
