"""Assistants, threads and runs show the defaults that OpenAI's service fills in."""

from typing import Any

import pytest

from inference.assistants.objects import run_object
from inference.defaults import resources_with_defaults, sent_function, tool_with_defaults

RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
PARAMETERS = {"type": "object", "properties": {}}

TOOLS: list[tuple[Any, Any]] = [
    (
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": {"name": "f", "parameters": PARAMETERS, "strict": False}},
    ),
    (
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": None}},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": False}},
    ),
    (
        {"type": "function", "function": {"name": "f", "parameters": PARAMETERS, "strict": True}},
        {"type": "function", "function": {"name": "f", "parameters": PARAMETERS, "strict": True}},
    ),
    ({"type": "file_search"}, {"type": "file_search", "file_search": {"ranking_options": RANKING}}),
    (
        {
            "type": "file_search",
            "file_search": {"max_num_results": 3, "ranking_options": {"score_threshold": 0.5}},
        },
        {
            "type": "file_search",
            "file_search": {"max_num_results": 3, "ranking_options": RANKING | {"score_threshold": 0.5}},
        },
    ),
    ({"type": "code_interpreter"}, {"type": "code_interpreter"}),
]


@pytest.mark.parametrize(("given", "shown"), TOOLS)
def test_a_tool_is_shown_with_its_defaults(given: Any, shown: Any) -> None:
    assert tool_with_defaults(given) == shown
    assert tool_with_defaults(shown) == shown


@pytest.mark.parametrize(("given", "shown"), TOOLS)
def test_a_run_shows_tools_of_its_request_like_those_of_its_assistant(given: Any, shown: Any) -> None:
    assistant = {"id": "a", "model": "m", "tools": [given]}
    for request in ({}, {"tools": [given]}):
        run = run_object("run_1", "thread_1", assistant, request, now=0)
        assert run["tools"] == [shown]


def test_enabled_code_interpreter_has_a_list_of_files() -> None:
    tools = [{"type": "code_interpreter"}]
    assert resources_with_defaults({}, tools) == {"code_interpreter": {"file_ids": []}}
    given = {"code_interpreter": {"file_ids": ["file-1"]}}
    assert resources_with_defaults(given, tools) == given
    assert resources_with_defaults({}, []) == {}


def test_a_provider_gets_strict_only_if_it_is_true() -> None:
    for strict in (True, False):
        function = {"name": "f", "parameters": PARAMETERS, "strict": strict}
        sent = sent_function({"type": "function", "function": function})
        assert ("strict" in sent["function"]) is strict
