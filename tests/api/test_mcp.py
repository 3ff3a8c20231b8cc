"""MCP servers through OpenAI's SDK, with two workers: those of requests, and the operator's own."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from tests.fixtures.mcp import mcp, mcp_process
from tests.mcp_servers import ROOT, MCPProcess
from tests.provider import ProviderProcess
from tests.server import Server

__all__ = ["mcp", "mcp_process"]

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

MODEL = "any-model"
FILE = f"""
servers:
  clock: {{command: {sys.executable}, args: [-m, tests.mcp_servers.tools], cwd: {ROOT},
           env: {{PYTHONPATH: {ROOT}}}}}
"""


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess, mcp_process: MCPProcess
) -> Iterator[OpenAI]:
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "mcp.yaml").write_text(FILE)
    environment = {
        "OPENAI_API_KEY": "sk-operator",
        "OPENAI_BASE_URL": provider.url,
        "ASTROLABE_MCP_HOSTS": mcp_process.host,
        "ASTROLABE_MCP_SERVERS": str(folder / "mcp.yaml"),
        "ASTROLABE_SECRET": "a secret of the tests alone",
    }
    with (
        Server(folder, **environment) as server,
        OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60) as client,
    ):
        yield client


def script(*turns: Any) -> str:
    return "script: " + json.dumps({"turns": turns})


def call(name: str, **arguments: Any) -> Any:
    return {"calls": [{"name": name, "arguments": arguments}]}


def server(mcp: MCPProcess, **options: Any) -> Any:
    return {"type": "mcp", "server_label": "tools", "server_url": f"{mcp.url}/mcp", **options}


def test_a_response_asks_for_approval_and_goes_on(client: OpenAI, mcp: MCPProcess) -> None:
    tools = [server(mcp, authorization="sesame", headers={"X-Tenant": "a"})]
    said = script(call("tools__delete_all", what="logs"), {"text": "Done: {tool}"})
    first = client.responses.create(model=MODEL, input=said, tools=tools)
    listed, request = first.output
    assert listed.type == "mcp_list_tools"
    assert "add" in [tool.name for tool in listed.tools]
    assert request.type == "mcp_approval_request"
    assert (request.server_label, request.name) == ("tools", "delete_all")
    answer: Any = {"type": "mcp_approval_response", "approve": True, "approval_request_id": request.id}
    with client.responses.stream(
        model=MODEL, input=[answer], previous_response_id=first.id, tools=tools
    ) as stream:
        events = [event.type for event in stream]
        second = stream.get_final_response()
    assert "response.mcp_call.completed" in events
    called = second.output[0]
    assert called.type == "mcp_call"
    assert (called.output, called.approval_request_id) == ("Deleted all logs.", request.id)
    assert second.output_text == "Done: Deleted all logs."
    assert {each["headers"]["authorization"] for each in mcp.seen()} == {"Bearer sesame"}


def test_an_assistants_run_asks_for_approval_and_goes_on(client: OpenAI, mcp: MCPProcess) -> None:
    beta = client.beta
    assistant = beta.assistants.create(model=MODEL)
    said = script(call("tools__add", a=1, b=2), call("tools__delete_all", what="logs"), {"text": "{tool}"})
    thread = beta.threads.create(messages=[{"role": "user", "content": said}])
    tool = server(mcp, authorization="sesame", require_approval={"never": {"tool_names": ["add"]}})
    run = beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, tools=[tool], poll_interval_ms=50
    )
    assert run.status == "requires_action"
    assert run.required_action is not None
    (asked,) = run.required_action.submit_tool_outputs.tool_calls
    assert asked.function.name == "mcp_approval_request"
    assert json.loads(asked.function.arguments)["name"] == "delete_all"
    run = beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread.id,
        tool_outputs=[{"tool_call_id": asked.id, "output": "approve"}],
        poll_interval_ms=50,
    )
    assert run.status == "completed"
    assert mcp.calls() == ["add", "delete_all"]
    steps = beta.threads.runs.steps.list(run_id=run.id, thread_id=thread.id, order="asc").data
    calls = [each for step in steps[:-1] for each in step.step_details.to_dict(warnings=False)["tool_calls"]]  # type: ignore[attr-defined]
    assert [each["type"] for each in calls] == ["mcp", "function", "mcp"]
    assert calls[2]["mcp"]["output"] == "Deleted all logs."


def test_the_operators_process_is_named_by_its_label(client: OpenAI) -> None:
    tool: Any = {"type": "mcp", "server_label": "clock", "require_approval": "never"}
    response = client.responses.create(
        model=MODEL, input=script(call("clock__process"), {"text": "{tool}"}), tools=[tool]
    )
    assert int(response.output_text) > 0


def test_a_background_response_has_its_secrets(client: OpenAI, mcp: MCPProcess) -> None:
    tool = server(
        mcp, server_url=f"{mcp.url}/odd/secret/mcp", authorization="sesame", require_approval="never"
    )
    said = script(call("tools__go"), {"text": "{tool}"})
    response = client.responses.create(model=MODEL, input=said, tools=[tool], background=True)
    with client.responses.retrieve(response.id, stream=True) as stream:
        last = list(stream)[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "went {}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_cannot_be_listed_is_424_or_a_failed_response(
    client: OpenAI, mcp: MCPProcess, *, stream: bool
) -> None:
    tool = server(mcp, server_url=f"{mcp.url}/odd/secret/mcp")
    if stream:
        with client.responses.create(model=MODEL, input="Hi.", tools=[tool], stream=True) as events:
            names = [event.type for event in events]
        assert names[-3:] == [
            "response.mcp_list_tools.failed",
            "response.output_item.done",
            "response.failed",
        ]
        return
    with pytest.raises(APIStatusError) as caught:
        client.responses.create(model=MODEL, input="Hi.", tools=[tool])
    assert caught.value.status_code == 424
    assert "'tools'. Http status code: 401 (Unauthorized)" in caught.value.message


def test_hosts_that_are_not_listed_are_refused(client: OpenAI) -> None:
    tool: Any = {"type": "mcp", "server_label": "a", "server_url": "http://127.0.0.1:22/mcp"}
    with pytest.raises(APIStatusError) as caught:
        client.responses.create(model=MODEL, input="Hi.", tools=[tool])
    assert (caught.value.status_code, caught.value.param) == (400, "tools[0].server_url")  # type: ignore[attr-defined]
