"""MCP servers in responses: their lists, calls and approvals, as items and as events."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers.errors import BadRequest, FailedDependency
from inference.engine.tools import Listing, Tool, ToolContext
from inference.gateway import Gateway
from inference.mcp.pool import MCPServers
from inference.mcp.tool import MCPType
from inference.sealing import Sealer
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.inference.engine.conftest import Asked
from tests.inference.engine.process import script
from tests.inference.responses.worker import Worker, parsed, types, worker
from tests.mcp_servers import MCPProcess


@pytest.fixture
async def one(store: Store, gateway: Gateway, tools: dict[str, MCPType]) -> AsyncIterator[Worker]:
    async with worker(store, gateway, tools=tools) as made:
        yield made


@pytest.fixture
async def sealing(store: Store, gateway: Gateway, tools: dict[str, MCPType]) -> AsyncIterator[Worker]:
    async with worker(store, gateway, tools=tools, sealer=Sealer("a secret of the tests")) as made:
        yield made


def server(mcp: MCPProcess, path: str = "/mcp", **options: Any) -> JSON:
    return {
        "type": "mcp",
        "server_label": "tools",
        "server_url": mcp.url + path,
        "require_approval": "never",
        **options,
    }


def call(name: str = "tools__add", **arguments: Any) -> JSON:
    return {"calls": [{"name": name, "arguments": arguments}]}


ON_EACH_ENGINE = pytest.mark.parametrize("store", ["sqlite", "cassandra"], indirect=True)

ADD = call(a=2, b=3)


def item_types(response: JSON) -> list[str]:
    return [item["type"] for item in response["output"]]


async def test_a_server_is_listed_and_its_tool_called(one: Worker, mcp: MCPProcess, asked: Asked) -> None:
    said = script(ADD, {"text": "It is {tool}."}, tag=asked.tag)
    response = await one.create(said, tools=[server(mcp, allowed_tools=["add"])])
    listed, called, message = response["output"]
    assert listed["type"] == "mcp_list_tools"
    assert listed["id"].startswith("mcpl_")
    assert (listed["server_label"], listed["error"]) == ("tools", None)
    assert [tool["name"] for tool in listed["tools"]] == ["add"]
    assert called == {
        "id": called["id"],
        "type": "mcp_call",
        "server_label": "tools",
        "name": "add",
        "arguments": '{"a": 2, "b": 3}',
        "output": "5",
        "error": None,
        "status": "completed",
        "approval_request_id": None,
    }
    assert called["id"].startswith("mcp_")
    assert message["content"][0]["text"] == "It is 5."
    (function,) = asked.all()[0]["tools"]
    assert function["function"]["name"] == "tools__add"
    assert function["function"]["parameters"]["required"] == ["a", "b"]


@ON_EACH_ENGINE
async def test_the_events_of_a_list_and_a_call_are_openais(one: Worker, mcp: MCPProcess) -> None:
    events = [
        event
        async for piece in await one.stream(script(ADD, {"text": "5"}), tools=[server(mcp)])
        for event in parsed(piece)
    ]
    assert types(events) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    by_type = {event["type"]: event for event in events}
    assert by_type["response.mcp_call_arguments.done"]["arguments"] == '{"a": 2, "b": 3}'
    await one.check_log(events[-1]["response"], events)


async def test_a_conversation_is_listed_once(one: Worker, mcp: MCPProcess) -> None:
    first = await one.create(script({"text": "Hi."}, ADD, {"text": "5"}), tools=[server(mcp)])
    assert item_types(first) == ["mcp_list_tools", "message"]
    mcp.forget()
    second = await one.create("Add.", previous_response_id=first["id"], tools=[server(mcp)])
    assert item_types(second) == ["mcp_call", "message"]
    assert "tools/list" not in [each["method"] for each in mcp.seen()]
    narrower = server(mcp, allowed_tools=["weather"])
    third = await one.create("Hi.", previous_response_id=second["id"], tools=[narrower])
    assert item_types(third) == ["message"]


@ON_EACH_ENGINE
async def test_a_call_waits_for_its_approval(one: Worker, mcp: MCPProcess, asked: Asked) -> None:
    said = script(call("tools__delete_all", what="logs"), {"text": "Done: {tool}"}, tag=asked.tag)
    tools = [server(mcp, require_approval={"never": {"read_only": True}})]
    first = await one.create(said, tools=tools)
    request = first["output"][1]
    assert request == {
        "id": request["id"],
        "type": "mcp_approval_request",
        "server_label": "tools",
        "name": "delete_all",
        "arguments": '{"what": "logs"}',
    }
    assert (first["status"], mcp.calls()) == ("completed", [])
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    second = await one.create([answer], previous_response_id=first["id"], tools=tools)
    called = second["output"][0]
    assert (called["type"], called["output"], called["approval_request_id"]) == (
        "mcp_call",
        "Deleted all logs.",
        request["id"],
    )
    assert mcp.calls() == ["delete_all"]
    assert asked.all()[1]["messages"][-2]["tool_calls"][0]["function"]["name"] == "tools__delete_all"
    assert second["output"][1]["content"][0]["text"] == "Done: Deleted all logs."
    again = one.create([answer], previous_response_id=second["id"], tools=tools)
    assert request["id"] in (await refused(again, BadRequest)).message


async def test_a_denied_call_is_told_to_the_model(one: Worker, mcp: MCPProcess, asked: Asked) -> None:
    said = script(call("tools__delete_all", what="logs"), {"text": "{tool}"}, tag=asked.tag)
    first = await one.create(said, tools=[server(mcp, require_approval="always")])
    id = first["output"][1]["id"]
    answer = {
        "type": "mcp_approval_response",
        "approval_request_id": id,
        "approve": False,
        "reason": "Too risky",
    }
    second = await one.create([answer], previous_response_id=first["id"], tools=[server(mcp)])
    said = "The user did not approve this call. Reason: Too risky"
    assert second["output"][0]["content"][0]["text"] == said
    assert mcp.calls() == []


async def test_a_conversation_goes_on_with_an_approval(one: Worker, mcp: MCPProcess) -> None:
    conversation = await one.conversation()
    said = script(call("tools__delete_all", what="logs"), {"text": "{tool}"}, {"text": "2"})
    first = await one.create(said, conversation=conversation, tools=[server(mcp, require_approval="always")])
    id = first["output"][1]["id"]
    answer = {"type": "mcp_approval_response", "approval_request_id": id, "approve": True}
    second = await one.create([answer], conversation=conversation, tools=[server(mcp)])
    assert item_types(second) == ["mcp_call", "message"]
    third = await one.create("And?", conversation=conversation, tools=[server(mcp)])
    assert third["output"][0]["content"][0]["text"] == "2"
    kept = [item["type"] for item in await one.items(conversation)]
    assert kept == [
        "message",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "message",
        "message",
        "message",
    ]
    assert mcp.calls() == ["delete_all"]


async def test_approvals_of_clients_that_keep_their_own_state_run_once(one: Worker, mcp: MCPProcess) -> None:
    said: list[JSON] = [
        {"role": "user", "content": script(call("tools__delete_all", what="a"), {"text": "1"}, {"text": "2"})}
    ]
    tools = [server(mcp, require_approval="always")]
    first = await one.create(said, tools=tools, store=False)
    id = first["output"][1]["id"]
    answer = {"type": "mcp_approval_response", "approval_request_id": id, "approve": True}
    said += [*first["output"], answer]
    second = await one.create(said, tools=tools, store=False)
    assert item_types(second) == ["mcp_call", "message"]
    said += [*second["output"], {"role": "user", "content": "And?"}]
    third = await one.create(said, tools=tools, store=False)
    assert item_types(third) == ["message"]
    assert mcp.calls() == ["delete_all"]


async def test_approvals_that_belong_to_nothing_are_refused(one: Worker, mcp: MCPProcess) -> None:
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_none", "approve": True}
    error = await refused(one.create([answer], tools=[server(mcp)]), BadRequest)
    assert "mcpr_none" in error.message
    first = await one.create(script(ADD), tools=[server(mcp, require_approval="always")])
    id = first["output"][1]["id"]
    answer = {"type": "mcp_approval_response", "approval_request_id": id, "approve": True}
    without = one.create([answer], previous_response_id=first["id"])
    assert (await refused(without, BadRequest)).param == "tools"
    twice = one.create([answer, answer], previous_response_id=first["id"], tools=[server(mcp)])
    assert "answered already" in (await refused(twice, BadRequest)).message
    assert mcp.calls() == []


@pytest.mark.parametrize(
    ("name", "arguments", "error", "read"),
    [
        ("tools__fail", {}, "mcp_tool_execution_error", "Error"),
        ("tools__add", {"a": "x"}, "mcp_tool_execution_error", "Error"),
        ("tools__large", {"megabytes": 100}, "http_error", "longer than"),
    ],
)
async def test_a_call_that_fails_is_told_to_the_model(
    one: Worker, mcp: MCPProcess, name: str, arguments: JSON, error: str, read: str
) -> None:
    response = await one.create(script(call(name, **arguments), {"text": "{tool}"}), tools=[server(mcp)])
    called, message = response["output"][1:]
    assert (called["status"], called["error"]["type"], called["output"]) == ("failed", error, None)
    assert read in message["content"][0]["text"]
    assert response["status"] == "completed"


@pytest.mark.parametrize("most", [1, 1.0])
async def test_calls_beyond_the_requests_limit_fail_as_mcp_calls_do(
    one: Worker, mcp: MCPProcess, most: float
) -> None:
    said = script({"calls": 2 * ADD["calls"]}, {"text": "{tool}"})
    response = await one.create(said, tools=[server(mcp)], max_tool_calls=most)
    first, second = response["output"][1:3]
    assert (first["output"], second["error"]["type"]) == ("5", "mcp_tool_execution_error")
    assert "max_tool_calls" in second["error"]["content"][0]["text"]


async def test_pictures_are_shown_to_the_model(one: Worker, mcp: MCPProcess, asked: Asked) -> None:
    said = script(call("tools__picture"), {"text": "A dot."}, tag=asked.tag)
    await one.create(said, tools=[server(mcp)])
    (image,) = [part for part in asked.all()[1]["messages"][-1]["content"] if part["type"] == "image_url"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    blind = await one.create(
        script(call("tools__picture"), {"text": "{tool}"}), tools=[server(mcp)], model="blind"
    )
    assert blind["output"][1]["output"] == "[Images of the result that cannot be shown: 1.]"


async def test_names_that_models_do_not_take_are_replaced(one: Worker, mcp: MCPProcess, asked: Asked) -> None:
    tools = [server(mcp, allowed_tools=["dotted.näme"])]
    choice = {"type": "mcp", "server_label": "tools", "name": "dotted.näme"}
    said = script({"calls": [{"name": "{}", "arguments": {}}]}, tag=asked.tag)
    await one.create(said, tools=tools, tool_choice=choice)
    (function,) = asked.all()[0]["tools"]
    name = function["function"]["name"]
    assert name.isascii()
    assert asked.all()[0]["tool_choice"] == {"type": "function", "function": {"name": name}}
    response = await one.create(script(call(name), {"text": "{tool}"}), tools=tools)
    assert (response["output"][1]["name"], response["output"][1]["output"]) == ("dotted.näme", "dotted")


async def test_two_servers_and_a_function_of_the_same_name_do_not_clash(
    one: Worker, mcp: MCPProcess, asked: Asked
) -> None:
    function = {"type": "function", "name": "tools__add", "parameters": {"type": "object"}}
    both = [server(mcp), server(mcp, "/sse", server_label="others"), function]
    said = script(call("others__add", a=1, b=1), {"text": "{tool}"}, tag=asked.tag)
    response = await one.create(said, tools=both)
    assert item_types(response) == ["mcp_list_tools", "mcp_list_tools", "mcp_call", "message"]
    assert response["output"][2]["server_label"] == "others"
    names = [each["function"]["name"] for each in asked.all()[0]["tools"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("path", "status"), [("/odd/secret/mcp", 401), ("/odd/broken/mcp", 500)])
async def test_a_list_that_fails_is_424(one: Worker, mcp: MCPProcess, path: str, status: int) -> None:
    error = await refused(one.create("Hi.", tools=[server(mcp, path)]), FailedDependency)
    assert (error.type, error.code, error.param) == ("external_connector_error", "http_error", "tools")
    assert error.message.startswith(
        f"Error retrieving tool list from MCP server: 'tools'. Http status code: {status} ("
    )


async def test_a_streamed_list_that_fails_is_an_item_and_the_responses_end(
    one: Worker, mcp: MCPProcess
) -> None:
    stream = await one.stream("Hi.", tools=[server(mcp, "/odd/broken/mcp")])
    events = [event async for piece in stream for event in parsed(piece)]
    assert types(events)[2:] == [
        "response.output_item.added",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.failed",
        "response.output_item.done",
        "response.failed",
    ]
    assert events[-1]["response"]["output"][0]["error"]


async def test_what_is_sent_to_a_server_is_not_shown_or_stored(
    one: Worker, store: Store, mcp: MCPProcess
) -> None:
    tool = server(mcp, authorization="sesame", headers={"X-Tenant": "acme-corp"})
    response = await one.create(script(ADD, {"text": "5"}), tools=[tool])
    assert response["tools"][0]["headers"] is None
    assert "authorization" not in response["tools"][0]
    assert {each["headers"].get("authorization") for each in mcp.seen()} == {"Bearer sesame"}
    assert {each["headers"].get("x-tenant") for each in mcp.seen()} == {"acme-corp"}
    log = await one.frames(response["id"])
    for text in (str(await one.get(response["id"])), log.decode()):
        assert "sesame" not in text
        assert "acme-corp" not in text


@pytest.mark.parametrize("kind", ["echo", "echo-error"])
async def test_secrets_that_a_server_repeats_are_not_shown(one: Worker, mcp: MCPProcess, kind: str) -> None:
    tool = server(mcp, f"/odd/{kind}/mcp", authorization="sesame")
    response = await one.create(script(call("tools__go"), {"text": "{tool}"}), tools=[tool])
    assert "You sent" in str(response["output"][1:])
    assert "sesame" not in str(response["output"])


async def test_a_list_that_a_client_keeps_may_lack_what_is_optional(one: Worker, mcp: MCPProcess) -> None:
    listed = {
        "type": "mcp_list_tools",
        "id": "mcpl_1",
        "server_label": "tools",
        "tools": [{"name": "add", "input_schema": {}}],
    }
    said = {"role": "user", "content": script(ADD, {"text": "{tool}"})}
    response = await one.create([listed, said], tools=[server(mcp)])
    assert item_types(response) == ["mcp_call", "message"]


@ON_EACH_ENGINE
async def test_in_the_background_it_is_sealed(sealing: Worker, one: Worker, mcp: MCPProcess) -> None:
    tool = server(mcp, "/odd/secret/mcp", authorization="sesame")
    response = await sealing.create(
        script(call("tools__go"), {"text": "{tool}"}), tools=[tool], background=True
    )
    ended = await sealing.ended(response["id"])
    assert item_types(ended) == ["mcp_list_tools", "mcp_call", "message"]
    error = await refused(one.create("Hi.", tools=[tool], background=True), BadRequest)
    assert "ASTROLABE_SECRET" in error.message


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"server_url": "http://127.0.0.1:1/mcp"}, "tools[0].server_url"),
        ({"server_url": "http://10.0.0.1/mcp"}, "tools[0].server_url"),
        ({"server_url": None}, "tools[0].server_url"),
        ({"server_url": None, "connector_id": "connector_gmail"}, "tools[0].connector_id"),
        ({"server_label": "1st"}, "tools[0].server_label"),
        ({"headers": {"a b": "c"}}, "tools[0]"),
        ({"authorization": "a\nb: c"}, "tools[0]"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_name(
    one: Worker, mcp: MCPProcess, options: JSON, param: str
) -> None:
    tool = {name: value for name, value in server(mcp, **options).items() if value is not None}
    assert (await refused(one.create("Hi.", tools=[tool]), BadRequest)).param == param
    twice = [server(mcp), server(mcp)]
    assert (await refused(one.create("Hi.", tools=twice), BadRequest)).param == "tools[1].server_label"


class UnstorableType(MCPType):
    """A type whose tools list what no JSON of the store can have."""

    def __init__(self) -> None:
        super().__init__(MCPServers(), lambda _: True)

    async def check(self, project: str, entry: JSON) -> None:
        """Take every entry."""

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool."""
        made = Unstorable()
        made.listing = Listing({"server_label": "tools", "tools": [{"name": 10**30}], "error": None})
        return made


class Unstorable(Tool):
    def definitions(self) -> list[JSON]:
        """Return no functions."""
        return []


async def test_a_response_whose_events_cannot_be_stored_ends_failed(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.jobs.ATTEMPTS", 1)
    async with worker(store, gateway, tools={"mcp": UnstorableType()}) as made:
        tool = {"type": "mcp", "server_label": "tools", "server_url": "https://tools.example/mcp"}
        response = await made.create("Hi.", tools=[tool], background=True)
        response = await made.ended(response["id"], seconds=60)
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
