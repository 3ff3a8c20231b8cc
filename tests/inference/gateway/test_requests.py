from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import spec
from inference.errors import ProviderRejected
from inference.gateway import requests
from inference.gateway.requests import chat_request
from inference.gateway.routing.targets import Target
from persistence.types import JSON

OPENAI = Target("openai", "openai", "m", base_url="https://api.openai.com/v1")
VLLM = Target("vllm", "openai", "m", base_url="http://127.0.0.1:8000/v1")
CALL = {
    "id": "c",
    "type": "function",
    "index": 0,
    "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}},
}
MESSAGES = [
    {"role": "user", "content": [{"type": "text", "text": "x", "extra": 1}], "odd": 1},
    {"role": "assistant", "content": None, "refusal": None, "annotations": [], "reasoning_content": "r",
     "tool_calls": [CALL], "audio": None},
    {"role": "tool", "tool_call_id": "c", "name": "f", "content": "y"},
]  # fmt: skip
REQUEST: JSON = {"model": "alias", "messages": MESSAGES, "temperature": None}


def test_the_fields_of_openais_request_are_the_editions() -> None:
    newest = max((Path(spec.__file__).parent / "editions").glob("2*.yaml"))
    components = yaml.load(newest.read_bytes(), Loader=yaml.CSafeLoader)["components"]["schemas"]
    assert _properties(components, {"$ref": "/CreateChatCompletionRequest"}) == requests.CHAT_FIELDS


def _properties(components: JSON, schema: JSON) -> set[str]:
    schema = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    found = set(schema.get("properties", ()))
    return found.union(*(_properties(components, part) for part in schema.get("allOf", ())))


def test_null_means_absent_and_the_request_is_not_changed() -> None:
    sent = chat_request(REQUEST, VLLM)
    assert sent["model"] == "m"
    assert "temperature" not in sent
    assert sent["messages"][1] == {
        "role": "assistant", "content": None, "annotations": [], "reasoning_content": "r", "tool_calls": [CALL],
    }  # fmt: skip
    assert REQUEST["model"] == "alias"
    assert REQUEST["messages"][1]["refusal"] is None


def test_unknown_members_of_messages_are_dropped_for_openai() -> None:
    user, assistant, tool = chat_request(REQUEST, OPENAI)["messages"]
    assert user == {"role": "user", "content": [{"type": "text", "text": "x"}]}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert assistant == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert tool == {"role": "tool", "tool_call_id": "c", "content": "y"}


@pytest.mark.parametrize("host", ["api.openai.com", "me.openai.azure.com", "eu.api.openai.com"])
def test_unknown_fields_are_refused_by_name_for_openai(host: str) -> None:
    with pytest.raises(ProviderRejected) as caught:
        chat_request({**REQUEST, "top_k": 5}, replace(OPENAI, base_url=f"https://{host}/v1"))
    assert (caught.value.status, caught.value.body["param"]) == (400, "top_k")


def test_unknown_fields_go_to_every_other_provider() -> None:
    fields = {
        "top_k": 5,
        "chat_template_kwargs": {"a": 1},
        "guided_json": {},
        "keep_alive": 1,
        "provider": {},
    }
    assert chat_request({**REQUEST, **fields}, VLLM).items() >= fields.items()


def test_the_routes_setting_comes_before_the_host() -> None:
    request = {**REQUEST, "top_k": 5}
    assert chat_request(request, replace(OPENAI, unknown_fields="pass"))["top_k"] == 5
    assert "top_k" not in chat_request(request, replace(VLLM, unknown_fields="drop"))
    with pytest.raises(ProviderRejected):
        chat_request(request, replace(VLLM, unknown_fields="refuse"))


@pytest.mark.parametrize("target", [OPENAI, VLLM])
def test_messages_that_need_no_change_are_not_copied(target: Target) -> None:
    """A request may have 48,000 messages, and nothing else runs while they are gone through."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "", "tool_call_id": "c"},
    ]
    sent = chat_request({"model": "m", "messages": messages}, target)["messages"]
    assert all(one is given for one, given in zip(sent, messages, strict=True))
