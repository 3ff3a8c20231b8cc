"""Answers to requests for approval in a request's input, and the calls that they approve."""

from inference.engine.state import ApprovedCall
from inference.responses.function_names import function_name
from inference.responses.items import ItemRefused
from persistence.types import JSON

REQUEST, RESPONSE = "mcp_approval_request", "mcp_approval_response"


def approved_requests(items: list[JSON], first_new: int, tools: list[JSON]) -> list[JSON]:
    """Return the requests for approval that new items approve, in the order of the answers; ItemRefused.

    `items` are a whole context; those from `first_new` on came with the request, whose tools are `tools`. A
    request for approval is answered once. One whose call is in the context was answered earlier: clients
    that keep their own state send both again.
    """
    requests = {item["id"]: item for item in items if item["type"] == REQUEST}
    done = {item.get("approval_request_id") for item in items if item["type"] == "mcp_call"}
    labels = {tool["server_label"] for tool in tools if tool["type"] == "mcp"}
    answered: set[str] = set()
    approved: list[JSON] = []
    for index, item in enumerate(items):
        if item["type"] != RESPONSE:
            continue
        id = item["approval_request_id"]
        if index >= first_new:
            _check(id, requests, answered)
            if item["approve"] and id not in done:
                approved.append(_with_server(requests[id], labels))
        answered.add(id)
    return approved


def approved_call(request: JSON) -> ApprovedCall:
    """Return the call of a request for approval."""
    label, name = request["server_label"], request["name"]
    details = {"server_label": label, "name": name}
    return ApprovedCall(request["id"], function_name(name, label), request["arguments"], details)


def _check(id: str, requests: dict[str, JSON], answered: set[str]) -> None:
    if id not in requests:
        message = f"No approval request found with id '{id}'."
        raise ItemRefused(message, "input", "invalid_value")
    if id in answered:
        message = f"The approval request '{id}' was answered already."
        raise ItemRefused(message, "input", "invalid_value")


def _with_server(request: JSON, labels: set[str]) -> JSON:
    label = request["server_label"]
    if label not in labels:
        message = f"The approved call needs its MCP server: 'tools' has none with the label '{label}'."
        raise ItemRefused(message, "tools", "invalid_value")
    return request
