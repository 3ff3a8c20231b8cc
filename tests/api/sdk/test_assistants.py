import openai
import pytest
from openai import OpenAI

MODEL = "any-model"


def test_an_assistant_is_returned_as_it_was_created(client: OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    made = client.beta.assistants.create(
        model=MODEL,
        name="Tutor",
        description="Teaches",
        instructions="Be brief.",
        tools=[tool],
        metadata={"a": "b"},
        temperature=0.5,
        top_p=0.9,
        response_format={"type": "json_object"},
    )
    assert made.id.startswith("asst_")
    assert client.beta.assistants.retrieve(made.id) == made
    assert (made.name, made.temperature, made.top_p, made.metadata) == ("Tutor", 0.5, 0.9, {"a": "b"})


def test_fields_that_were_not_given_have_their_defaults(client: OpenAI) -> None:
    made = client.beta.assistants.create(model=MODEL)
    assert (made.name, made.description, made.instructions) == (None, None, None)
    assert (made.tools, made.metadata, made.temperature, made.top_p) == ([], {}, 1.0, 1.0)
    assert made.response_format == "auto"


def test_an_update_changes_only_the_given_fields(client: OpenAI, assistant) -> None:
    changed = client.beta.assistants.update(assistant.id, name="New", metadata={"k": "v"})
    assert (changed.name, changed.instructions, changed.metadata) == ("New", "Be brief.", {"k": "v"})
    assert client.beta.assistants.retrieve(assistant.id) == changed


def test_a_deleted_assistant_is_not_found(client: OpenAI) -> None:
    made = client.beta.assistants.create(model=MODEL)
    assert client.beta.assistants.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as refusal:
        client.beta.assistants.retrieve(made.id)
    assert refusal.value.body["message"] == f"No assistant found with id '{made.id}'."


def test_pages_of_a_list_have_no_gaps_or_duplicates(client: OpenAI) -> None:
    made = [client.beta.assistants.create(model=MODEL, name=f"n{i}").id for i in range(7)]
    walked = []
    for one in client.beta.assistants.list(limit=3, order="desc"):
        walked.append(one.id)
        if one.id == made[0]:
            break
    assert [id for id in walked if id in made] == made[::-1]
    assert len(walked) == len(set(walked))


def test_before_returns_the_page_that_ends_before_the_cursor(client: OpenAI) -> None:
    made = [client.beta.assistants.create(model=MODEL).id for _ in range(4)]
    page = client.beta.assistants.list(before=made[0], limit=2, order="desc")
    assert [one.id for one in page.data] == [made[2], made[1]]
