"""One turn with file_search, code_interpreter and an MCP server: runs and responses show the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from persistence.types import JSON
from tests.fixtures.mcp import mcp, mcp_process
from tests.fixtures.sandboxes import needs_sandbox
from tests.mcp_servers import MCPProcess
from tests.provider import ProviderProcess
from tests.server import Server

__all__ = ["mcp", "mcp_process"]

CALLS = [
    {"name": "file_search", "arguments": {"queries": ["winter storms"]}},
    {"name": "code_interpreter", "arguments": {"code": "print(6 * 7)"}},
    {"name": "tools__add", "arguments": {"a": 1, "b": 2}},
]
SAID = "script: " + json.dumps({"turns": [{"calls": CALLS}, {"text": "The answer is {tool}."}]})


def shown_by_run(client: OpenAI, store: str, tool: Any) -> tuple[list[JSON], str]:
    """Return what the step of a run shows of each call, and the answer."""
    assistant = client.beta.assistants.create(
        model="m",
        tools=[{"type": "file_search"}, {"type": "code_interpreter"}, tool],
        tool_resources={"file_search": {"vector_store_ids": [store]}},
    )
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": SAID}]},
        poll_interval_ms=50,
    )
    assert run.status == "completed", run.last_error
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc")
    search, code, called = steps.data[0].to_dict(warnings=False)["step_details"]["tool_calls"]  # type: ignore[index]
    [answer] = client.beta.threads.messages.list(run.thread_id, limit=1).data
    shown = [
        {"found": [each["file_name"] for each in search["file_search"]["results"]]},
        {"code": code["code_interpreter"]["input"], "outputs": code["code_interpreter"]["outputs"]},
        {name: called["mcp"][name] for name in ("server_label", "name", "output")},
    ]
    return shown, answer.content[0].text.value


def shown_by_response(client: OpenAI, store: str, tool: Any) -> tuple[list[JSON], str]:
    """Return what the items of a response show of each call, and the answer."""
    response = client.responses.create(
        model="m",
        input=SAID,
        tools=[
            {"type": "file_search", "vector_store_ids": [store]},
            {"type": "code_interpreter", "container": {"type": "auto"}},
            tool,
        ],
        include=["file_search_call.results", "code_interpreter_call.outputs"],
    )
    listed, search, code, called, message = (item.to_dict(warnings=False) for item in response.output)
    assert [item["type"] for item in (listed, search, code, called, message)] == [
        "mcp_list_tools",
        "file_search_call",
        "code_interpreter_call",
        "mcp_call",
        "message",
    ]
    shown: list[JSON] = [
        {"found": [each["filename"] for each in search["results"]]},  # type: ignore[attr-defined,index]
        {"code": code["code"], "outputs": code["outputs"]},
        {name: called[name] for name in ("server_label", "name", "output")},
    ]
    return shown, response.output_text


@pytest.mark.server
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@needs_sandbox
def test_a_run_and_a_response_with_three_tools_show_the_same(
    tmp_path: Path, provider: ProviderProcess, mcp: MCPProcess
) -> None:
    environment = {
        "OPENAI_API_KEY": "sk-operator",
        "OPENAI_BASE_URL": provider.url,
        "ASTROLABE_MCP_HOSTS": mcp.host,
    }
    with (
        Server(tmp_path, **environment) as server,
        OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60) as client,
    ):
        store = client.vector_stores.create()
        client.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=("storms.txt", b"All about winter storms."), poll_interval_ms=50
        )
        tool: Any = {
            "type": "mcp",
            "server_label": "tools",
            "server_url": f"{mcp.url}/mcp",
            "require_approval": "never",
        }
        by_run, answer = shown_by_run(client, store.id, tool)
        by_response, text = shown_by_response(client, store.id, tool)
    assert by_run == by_response
    assert by_run[0] == {"found": ["storms.txt"]}
    assert by_run[1] == {"code": "print(6 * 7)", "outputs": [{"type": "logs", "logs": "42\n"}]}
    assert answer == text == "The answer is 3."
