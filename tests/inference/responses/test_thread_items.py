"""What threads and conversations have of the server's tools, each in the other's form."""

from inference.responses.thread_items import call_items, message_item, thread_message
from persistence.types import JSON

LINK = "([a.example](https://a.example/x))"
TEXT = f"So it was {LINK}."
SPAN = {"start_index": 10, "end_index": 10 + len(LINK)}
IN_THREAD = {
    "type": "url_citation",
    "text": LINK,
    **SPAN,
    "url_citation": {"url": "https://a.example/x", "title": "X"},
}
IN_ITEM = {"type": "url_citation", "url": "https://a.example/x", "title": "X", **SPAN}


def step_of(*calls: JSON) -> JSON:
    return {"step_details": {"type": "tool_calls", "tool_calls": [*calls]}}


def test_a_citation_of_the_web_is_moved_both_ways() -> None:
    text = {"value": TEXT, "annotations": [IN_THREAD]}
    content = [{"type": "text", "text": text}]
    item = message_item({"id": "msg_1", "role": "assistant", "status": "completed", "content": content}, {})
    assert item["content"][0]["annotations"] == [IN_ITEM]
    assert thread_message(item, "thread_1", 0)["content"] == content


def test_calls_of_tools_become_items() -> None:
    action = {"type": "search", "query": "tides", "queries": ["tides"], "sources": []}
    mcp = {"server_label": "office", "name": "add", "arguments": "{}", "output": "3", "error": None}
    step = step_of(
        {"id": "call_1", "type": "web_search", "web_search": {"action": action}},
        {"id": "call_2", "type": "mcp", "mcp": {**mcp, "approval_request_id": "mcpr_1"}},
    )
    search, call = call_items(step, "conv_1")
    assert (search["type"], search["action"], search["status"]) == ("web_search_call", action, "completed")
    assert {name: call[name] for name in mcp} == mcp
