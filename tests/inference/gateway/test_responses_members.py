"""What only the Responses API says reaches the providers that take it, and leaves nothing for the others."""

from typing import Any

import pytest

from inference.gateway.drivers.responses_requests import responses_request
from inference.gateway.requests import chat_request
from inference.gateway.routing.targets import Target
from persistence.types import JSON

MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
RULES = {"type": "text", "text": "Rules.", **MARK}
MORE = {"type": "text", "text": "More."}
IMAGE = {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}, **MARK}
CACHED = {"cache_control": {"type": "ephemeral"}}

OPENAI = Target("o", "openai", "m", base_url="https://api.openai.com/v1")
MISTRAL = Target("o", "openai", "m", base_url="https://api.mistral.ai/v1")
LOCAL = Target("l", "local", "m")
CLAUDE = Target("a", "litellm", "anthropic/claude")
GEMINI = Target("g", "litellm", "gemini/x")


def asked(*contents: Any, **fields: Any) -> JSON:
    return {"model": "m", "messages": [{"role": "user", "content": each} for each in contents], **fields}


def contents(target: Target, *given: Any) -> list[Any]:
    return [message["content"] for message in chat_request(asked(*given), target)["messages"]]


def test_openai_gets_the_breakpoints_of_a_prompt_cache() -> None:
    assert contents(OPENAI, [RULES, MORE]) == [[RULES, MORE]]
    (item,) = responses_request(asked([RULES, IMAGE]))["input"]
    assert [part["type"] for part in item["content"]] == ["input_text", "input_image"]
    assert [part["prompt_cache_breakpoint"] for part in item["content"]] == [{"mode": "explicit"}] * 2


def test_anthropic_gets_its_own_marks_for_the_last_four() -> None:
    made = contents(CLAUDE, *[[RULES, MORE]] * 5)
    assert made == ["Rules.\nMore.", *[[{"type": "text", "text": "Rules.", **CACHED}, MORE]] * 4]


@pytest.mark.parametrize("target", [MISTRAL, LOCAL, GEMINI])
def test_others_get_the_texts_without_them(target: Target) -> None:
    image = {name: value for name, value in IMAGE.items() if name not in MARK}
    assert contents(target, [RULES, MORE], [MORE, IMAGE], [MORE]) == ["Rules.\nMore.", [MORE, image], [MORE]]


def test_the_form_of_a_functions_output_goes_to_the_responses_api_only() -> None:
    function = {"name": "look", "parameters": {"type": "object"}, "output_schema": {"type": "string"}}
    request = asked("Look.", tools=[{"type": "function", "function": function}])
    assert responses_request(request)["tools"][0]["output_schema"] == {"type": "string"}
    sent = chat_request(request, OPENAI)["tools"][0]["function"]
    assert sent == {"name": "look", "parameters": {"type": "object"}}
