"""Every item that clients send has a stored form that the edition describes, and messages that models read."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.responses.chat import chat_messages
from inference.responses.items import UNRESOLVED, shown, stored_items
from inference.responses.tools import RequestTools
from persistence.types import JSON
from spec.edition import Edition, load
from spec.validation import ResponseValidator
from tests.inference.responses.test_chat import Files
from tests.spec.sent_items import ITEMS


@pytest.fixture(scope="session")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Edition:
    return load("2026-08-21", Path(tmp_path_factory.getbasetemp()).parent / "astrolabe-editions")


@pytest.fixture(scope="session")
def validator(edition: Edition) -> Callable[[str], ResponseValidator]:
    components = edition.document["components"]["schemas"]
    made = {
        name: ResponseValidator({"$ref": f"#/components/schemas/{name}"}, components)
        for name in ("ItemResource", "ConversationItem", "OutputItem")
    }
    return made.__getitem__


def stored(item: JSON) -> JSON:
    (one,) = stored_items([copy.deepcopy(item)], lambda prefix: f"{prefix}1")
    return one


RESOLVED = {
    name: item for name, item in ITEMS.items() if item.get("type", "item_reference") not in UNRESOLVED
}
RESOLVED |= {name: item for name, item in ITEMS.items() if "role" in item}


@pytest.mark.parametrize("schema", ["ItemResource", "ConversationItem"])
@pytest.mark.parametrize("item", RESOLVED.values(), ids=RESOLVED)
def test_a_stored_item_is_the_editions(
    item: JSON, schema: str, validator: Callable[[str], ResponseValidator]
) -> None:
    one = stored(item)

    validator(schema).check(one)
    validator(schema).check(shown(one, []))


@pytest.mark.parametrize("item", RESOLVED.values(), ids=RESOLVED)
def test_a_stored_item_that_is_sent_back_stays_the_same(item: JSON) -> None:
    one = stored(item)

    assert stored(one) == one


@pytest.mark.parametrize("item", RESOLVED.values(), ids=RESOLVED)
async def test_any_model_reads_any_item(item: JSON) -> None:
    one = stored(item)
    messages = await chat_messages([one], Files(), RequestTools.of([], None, [one]))

    for message in messages:
        assert message["role"] in ("system", "user", "assistant", "tool")
        for call in message.get("tool_calls", ()):
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    assert [message["tool_call_id"] for message in messages if message["role"] == "tool"] == calls


TOOLS: list[JSON] = [
    {"type": "function", "name": "f", "parameters": {}},
    {"type": "custom", "name": "f"},
    {"type": "namespace", "name": "a.b", "description": "A.", "tools": [{"type": "function", "name": "f"}]},
    {"type": "local_shell"},
    {"type": "shell"},
    {"type": "apply_patch"},
    {"type": "computer"},
    {
        "type": "computer_use_preview",
        "environment": "linux",
        "display_width": 1024,
        "display_height": 768,
    },
    {"type": "tool_search", "execution": "client"},
]
ARGUMENTS = [
    "",
    "no JSON",
    "[]",
    "{}",
    '{"command":"ls","commands":"ls","env":{"a":1},"timeout_ms":"x","user":5}',
    '{"command":["ls",1],"commands":["ls",1],"env":5,"timeout_ms":1.5}',
    '{"type":"create_file","path":"a"}',
    '{"type":"click","x":1}',
    '{"type":"click","x":1,"y":2,"button":"left","extra":1}',
    '{"type":"drag","path":[{"x":1,"y":2},{"x":1}]}',
    '{"type":{},"actions":[{"type":[]},5,{"type":"scroll","x":1,"y":1,"scroll_x":0,"scroll_y":5}]}',
    '{"type":"keypress","keys":["ctrl","c"]}',
    '{"input":5}',
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["type"])
def test_a_call_with_any_arguments_is_a_valid_item(
    tool: JSON, arguments: str, validator: Callable[[str], ResponseValidator]
) -> None:
    tools = RequestTools.of([tool], "auto", [])
    (function,) = tools.functions

    item = tools.item(function["function"]["name"], arguments, "call_1")

    whole = {"id": "x_1", **item, "status": "completed"}
    validator("OutputItem").check(whole)
    validator("ItemResource").check(whole)
    name, sent = tools.function_call(whole)
    assert name == function["function"]["name"]
    assert tool["type"] in ("function", "namespace") or isinstance(json.loads(sent), dict)
