"""Items get their stored form, and contexts without pairs are refused."""

import pytest

from inference.identifiers import new_id
from inference.responses.items import (
    ItemRefused,
    conversation_item_id,
    item_owner,
    named_files,
    output_id,
    shown,
    stored_items,
)
from persistence.types import JSON

CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}


def stored(*items: JSON) -> list[JSON]:
    numbers = iter(range(99))
    return stored_items(list(items), lambda prefix: f"{prefix}{next(numbers)}")


def test_a_text_is_a_message_of_the_user() -> None:
    assert stored_items("Hello", lambda prefix: f"{prefix}1") == [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hello"}],
        }
    ]


def test_a_bare_message_of_the_assistant_is_an_output_message() -> None:
    (message,) = stored({"role": "assistant", "content": "Hi"})

    assert message["content"] == [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}]


def test_ids_that_clients_make_are_kept() -> None:
    (message,) = stored({"type": "message", "role": "user", "content": "Hi", "id": "msg_0199-ab-cd"})

    assert message["id"] == "msg_0199-ab-cd"


@pytest.mark.parametrize(
    ("id", "code"),
    [("msg/1", "invalid_value"), ("é", "invalid_value"), ("x" * 257, "string_above_max_length")],
)
def test_an_id_of_other_characters_is_refused(id: str, code: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        stored({"type": "message", "role": "user", "content": "Hi", "id": id})

    assert (refused.value.param, refused.value.code) == ("input[0].id", code)


def test_a_local_shell_output_that_has_its_calls_id_gets_its_own() -> None:
    (item,) = stored({"type": "local_shell_call_output", "id": "call_1", "output": "1"})

    assert (item["id"], item["call_id"]) == ("lsho_0", "call_1")


def test_replayed_reasoning_loses_its_nulls() -> None:
    (item,) = stored({"type": "reasoning", "summary": [], "content": None, "encrypted_content": None})

    assert item == {"id": "rs_0", "type": "reasoning", "summary": []}


def test_members_that_only_answers_have_are_not_taken_from_requests() -> None:
    call, custom = stored(
        {**CALL, "created_by": {}},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": "", "status": {}},
    )

    assert "created_by" not in call
    assert custom["status"] == "completed"


def test_members_that_codex_keeps_for_itself_are_not_stored() -> None:
    (item,) = stored({**CALL, "internal_chat_message_metadata_passthrough": {"turn": 1}})

    assert "internal_chat_message_metadata_passthrough" not in item


def test_references_and_triggers_stay() -> None:
    trigger, reference, short = stored(
        {"type": "compaction_trigger"}, {"type": "item_reference", "id": "msg_1"}, {"id": "msg_2"}
    )

    assert trigger == {"type": "compaction_trigger"}
    assert reference == {"type": "item_reference", "id": "msg_1"}
    assert short == {"type": "item_reference", "id": "msg_2"}


def test_an_image_of_the_assistant_is_refused_by_name() -> None:
    part = {"type": "input_image", "image_url": "https://a.example/x.png"}

    with pytest.raises(ItemRefused) as refused:
        stored({"role": "assistant", "content": [part]})

    assert refused.value.param == "input[0].content[0]"


def test_an_image_without_a_source_is_refused_by_name() -> None:
    with pytest.raises(ItemRefused) as refused:
        stored({"role": "user", "content": [{"type": "input_image", "image_url": None}]})

    assert "input[0].content[0].image_url" in refused.value.message


def test_the_id_of_an_output_names_its_response() -> None:
    response = new_id("resp_")

    id = output_id("function_call", response, 27)

    assert id == f"fc_{response[5:]}001b"
    assert item_owner(id) == ("response", response)


def test_the_id_of_a_conversations_item_names_its_conversation() -> None:
    conversation = new_id("conv_")

    assert item_owner(conversation_item_id("msg_", conversation)) == ("conversation", conversation)


@pytest.mark.parametrize(
    "id", ["msg_0199a1b2-7c3d-7000-8000-000000000000", "msg_" + "a" * 24, "msg", "", "x_"]
)
def test_other_ids_name_nobody(id: str) -> None:
    assert item_owner(id) is None


def test_named_files_are_found_in_messages_and_outputs() -> None:
    image = {"type": "input_image", "file_id": "file-1"}
    screen = {"type": "computer_screenshot", "file_id": "file-3"}
    items = stored(
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, image]},
        {**OUTPUT, "output": [{"type": "input_file", "file_id": "file-2"}]},
        {"type": "computer_call_output", "call_id": "c", "output": screen},
    )

    assert list(named_files(items, "file_id")) == [
        ("file-1", "input[0].content[1].file_id"),
        ("file-2", "input[1].output[0].file_id"),
        ("file-3", "input[2].output.file_id"),
    ]


def test_large_members_are_shown_on_request() -> None:
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x"}
    search = {"id": "fs_1", "type": "file_search_call", "queries": [], "results": [{"text": "x"}]}

    assert "encrypted_content" not in shown(reasoning, [])
    assert shown(reasoning, ["reasoning.encrypted_content"]) == reasoning
    assert shown(search, [])["results"] is None
    assert shown(search, ["file_search_call.results"]) == search


def test_log_probabilities_are_shown_on_request_and_image_urls_always() -> None:
    text = {"type": "output_text", "text": "x", "annotations": [], "logprobs": [{"token": "x"}]}
    image = {"type": "input_image", "image_url": "data:x", "detail": "auto"}
    message = {"id": "msg_1", "type": "message", "role": "user", "content": [text, image]}

    assert shown(message, [])["content"] == [{**text, "logprobs": []}, image]
    assert shown(message, ["message.output_text.logprobs"]) == message


def test_what_a_provider_wants_back_with_a_call_is_not_shown() -> None:
    call = {**CALL, "id": "fc_1", "extra": {"thought_signature": "x"}}

    assert "extra" not in shown(call, [])
