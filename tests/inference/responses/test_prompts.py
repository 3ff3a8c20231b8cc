"""Prompt templates: files of the operator, and assistants."""

from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from handlers import assistants, vector_stores
from handlers.errors import BadRequest, NotFound
from inference.errors import PromptsRefused
from inference.gateway import Gateway
from inference.responses.items import ItemRefused
from inference.responses.prompts import Prompts
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.inference.engine.conftest import Asked
from tests.inference.engine.process import script
from tests.inference.responses.worker import text_of, worker
from tests.provider import ProviderProcess
from tests.server import Server, command

SUPPORT = """
model: m
temperature: 0.5
instructions: You help {{ who }} with {{topic}}.
messages:
  - role: user
    content: "My picture: {{picture}} Look at it."
  - role: assistant
    content: I see it, {{who}}.
tools:
  - {type: function, name: look_up, parameters: {type: object, properties: {}}, strict: false}
"""

PICTURE = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}
VARIABLES: JSON = {
    "who": "Ada",
    "topic": {"type": "input_text", "text": "{{who}} and teapots"},
    "picture": PICTURE,
}


def folder(path: Path, **files: str) -> Prompts:
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    return Prompts.from_folder(path)


# --- files ---


def test_variables_stand_in_texts_and_between_them(tmp_path: Path) -> None:
    fields = folder(tmp_path, support=SUPPORT).find("support", None).filled(VARIABLES)
    assert fields["instructions"] == "You help Ada with {{who}} and teapots."
    user, assistant = fields["messages"]
    assert user["content"] == [
        {"type": "input_text", "text": "My picture: "},
        PICTURE,
        {"type": "input_text", "text": " Look at it."},
    ]
    assert [part["text"] for part in assistant["content"]] == ["I see it, Ada."]
    assert (fields["model"], fields["temperature"]) == ("m", 0.5)


def test_without_a_version_a_request_gets_the_newest(tmp_path: Path) -> None:
    old, new = "id: p\nversion: 9\ninstructions: old", "id: p\nversion: 10\ninstructions: new"
    prompts = folder(tmp_path, old=old, new=new)
    assert prompts.find("p", None).fields["instructions"] == "new"
    assert prompts.find("p", "9").fields["instructions"] == "old"


@pytest.mark.parametrize(
    ("variables", "param", "message"),
    [
        ({**VARIABLES, "who": PICTURE}, "prompt.variables.who", "only a text can be"),
        ({**VARIABLES, "whom": "x"}, "prompt.variables.whom", "has who, topic, picture"),
        ({"who": "Ada"}, "prompt.variables.topic", "Missing required parameter: 'prompt.variables.topic'"),
        ({**VARIABLES, "who": "x" * 10_485_760}, "prompt.variables", "more than 10485760 characters"),
    ],
)
def test_a_variable_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, variables: JSON, param: str, message: str
) -> None:
    with pytest.raises(ItemRefused, match=message) as caught:
        folder(tmp_path, support=SUPPORT).find("support", None).filled(variables)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("instruction: x", "line 1: instruction: there is no such key.*mean 'instructions'"),
        ("model: m\ninput: x", "line 2: input: there is no such key"),
        ("id: asst_1", "line 1: id: 'asst_' is how ids of assistants begin"),
        ("version: one", "line 1: version"),
        ("messages:\n  - {role: tool, content: x}", "line 2: messages.0.role"),
        ("{{x}}: 1", "line 1"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(PromptsRefused, match=rf"a\.yaml, {reason}"):
        folder(tmp_path, a=text)


def test_two_files_of_the_same_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptsRefused, match=r"b\.yaml.*a\.yaml has version 1 of 'p' already"):
        folder(tmp_path, a="id: p", b="id: p")


# --- responses ---


async def test_a_response_has_the_fields_of_its_prompt_and_its_own_before_them(
    store: Store, gateway: Gateway, tmp_path: Path, asked: Asked
) -> None:
    prompts = folder(tmp_path, support=SUPPORT)
    said = script({"text": "Fine."}, tag=asked.tag)
    prompt = {"id": "support", "variables": VARIABLES}
    async with worker(store, gateway, prompts=prompts) as first:
        plain = await first.create(said, model=None, prompt=prompt)
        own = await first.create(said, model="n", instructions="Be brief.", tools=[], prompt=prompt)
        after = await first.create(said, previous_response_id=plain["id"])
    assert plain["prompt"] == {**prompt, "version": "1"}
    assert (plain["model"], plain["temperature"], plain["tools"][0]["name"]) == ("m", 0.5, "look_up")
    assert [item["role"] for item in plain["instructions"]] == ["developer", "user", "assistant"]
    assert (own["model"], own["tools"]) == ("n", [])
    assert own["instructions"][0]["content"][0]["text"] == "Be brief."
    assert (after["instructions"], after["prompt"]) == (None, None)
    requests = asked.all()
    roles = [[message["role"] for message in request["messages"]] for request in requests]
    assert roles == [["system", "user", "assistant", "user"]] * 2 + [["user", "assistant", "user"]]
    assert requests[0]["messages"][0]["content"] == "You help Ada with {{who}} and teapots."
    assert requests[0]["messages"][1]["content"][1]["image_url"]["url"] == PICTURE["image_url"]
    assert requests[1]["messages"][0]["content"] == "Be brief."
    assert (requests[0]["temperature"], requests[0]["model"], requests[1]["model"]) == (0.5, "m", "n")


@pytest.mark.parametrize("id", ["support", "asst_none"])
@pytest.mark.parametrize("version", [None, "7"])
async def test_an_unknown_prompt_is_not_found(
    store: Store, gateway: Gateway, id: str, version: str | None
) -> None:
    async with worker(store, gateway) as first:
        call = first.create("hello", prompt={"id": id, "version": version})
        answer = await refused(call, NotFound)
    named = "" if version is None else " and version '7'"
    assert answer.message == f"Prompt with id '{id}'{named} not found."


async def test_without_a_model_in_request_or_prompt_the_model_is_missing(
    store: Store, gateway: Gateway, tmp_path: Path
) -> None:
    prompts = folder(tmp_path, brief="instructions: Be brief.")
    async with worker(store, gateway, prompts=prompts) as first:
        call = first.create("hello", model=None, prompt={"id": "brief"})
        assert (await refused(call, BadRequest)).param == "model"


# --- assistants ---


async def test_an_assistant_is_a_prompt_with_its_tools_and_vector_stores(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    schema = {"name": "answer", "schema": {"type": "object", "properties": {}}, "strict": False}
    async with worker(store, gateway) as first:
        files = await vector_stores.create_vector_store(first.context(), {"name": "files"})
        body: JSON = {
            "model": "m",
            "instructions": "Answer {{literally}}.",
            "temperature": 0.25,
            "tools": [{"type": "file_search"}, {"type": "function", "function": {"name": "look_up"}}],
            "tool_resources": {"file_search": {"vector_store_ids": [files["id"]]}},
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        assistant = await assistants.create_assistant(first.context(), body)
        said = script(
            {"calls": [{"name": "file_search", "arguments": {"queries": ["tea"]}}]},
            {"text": "Done."},
            tag=asked.tag,
        )
        response = await first.create(said, model=None, prompt={"id": assistant["id"]})
        foreign = first.create(said, model=None, prompt={"id": assistant["id"]}, project="q")
        await refused(foreign, NotFound)
    assert response["instructions"] == "Answer {{literally}}."
    assert text_of(response) == "Done."
    assert [item["type"] for item in response["output"]] == ["file_search_call", "message"]
    searched, function = response["tools"]
    assert searched["vector_store_ids"] == [files["id"]]
    assert function["name"] == "look_up"
    assert response["text"]["format"]["name"] == "answer"
    request = asked.all()[0]
    assert request["temperature"] == 0.25
    assert request["response_format"]["json_schema"]["name"] == "answer"


# --- a server ---


@pytest.mark.server
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_sdk_names_a_prompt_and_gets_a_response_that_fits_the_edition(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    folder(prompts, support=SUPPORT)
    environment = {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": provider.url, "ASTROLABE_PROMPTS": str(prompts)}
    with Server(tmp_path, **environment) as server, OpenAI(base_url=server.url, api_key="any") as client:
        variables: Any = VARIABLES
        response = client.responses.create(prompt={"id": "support", "variables": variables}, input="hello")
        assert response.status == "completed"
        assert response.prompt is not None
        assert response.prompt.version == "1"
        assert isinstance(response.instructions, list)
        assert client.responses.retrieve(response.id) == response
        assistant = client.beta.assistants.create(
            model="m",
            instructions="Be brief.",
            tools=[{"type": "file_search"}, {"type": "function", "function": {"name": "look_up"}}],
        )
        of_assistant = client.responses.create(prompt={"id": assistant.id}, input="hello")
        assert (of_assistant.instructions, of_assistant.model) == ("Be brief.", "m")
        with pytest.raises(NotFoundError, match="Prompt with id 'none' not found"):
            client.responses.create(prompt={"id": "none"}, input="hello")
        with pytest.raises(BadRequestError, match=r"prompt\.variables\.who"):
            client.responses.create(prompt={"id": "support"}, input="hello")


def test_a_template_that_is_no_request_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: m\nreasoning:\n  effort: lots\n")
    refused = command(tmp_path, "serve", ASTROLABE_PROMPTS=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"astrolabe: ASTROLABE_PROMPTS: {tmp_path}/a.yaml, line 3: reasoning.effort"
    )
