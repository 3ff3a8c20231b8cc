"""Contexts with calls that have no output, or outputs that have no call, are refused."""

import pytest

from inference.responses.items import ItemRefused
from inference.responses.pairs import check_pairs
from tests.inference.responses.test_items import CALL, OUTPUT, stored


def test_a_call_with_its_output_passes() -> None:
    check_pairs(stored(CALL, OUTPUT), 0)


def test_a_call_without_an_output_is_refused() -> None:
    with pytest.raises(ItemRefused, match=r"^No tool output found for function call call_1\.$"):
        check_pairs(stored(CALL, {"role": "user", "content": "And?"}), 1)


def test_an_output_without_a_call_is_refused() -> None:
    with pytest.raises(ItemRefused) as refused:
        check_pairs(stored(OUTPUT), 0)

    assert refused.value.message == "No tool call found for function call output with call_id call_1."
    assert refused.value.param == "input"


def test_an_old_output_whose_call_was_deleted_does_not_end_a_conversation() -> None:
    check_pairs(stored(OUTPUT, {"role": "user", "content": "And?"}), 1)


def test_a_local_shell_call_may_be_answered_as_a_function_is() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    shell = {"type": "local_shell_call", "call_id": "call_1", "action": action}

    check_pairs(stored(shell, OUTPUT), 0)


def test_a_local_shell_output_may_name_its_call_by_its_id() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    shell = {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_1", "action": action}

    check_pairs(stored(shell, {"type": "local_shell_call_output", "id": "call_1", "output": "1"}), 0)


def test_an_id_that_comes_twice_is_refused() -> None:
    message = {"type": "message", "role": "user", "content": "Hi", "id": "msg_x"}
    advice = "Remove duplicate items from your input and try again."

    with pytest.raises(ItemRefused) as refused:
        check_pairs(stored(message, message), 1)

    assert refused.value.message == f"Duplicate item found with id msg_x. {advice}"
