"""A handler's name follows from the operationId, the same in every edition."""

import pytest

from spec.edition import Edition
from spec.names import RENAMES, argument_name, python_name


@pytest.mark.parametrize(
    ("operation_id", "name"),
    [
        ("createThreadAndRun", "create_thread_and_run"),
        ("submitToolOuputsToRun", "submit_tool_outputs_to_run"),
        ("admin-api-keys-list", "admin_api_keys_list"),
        ("Getinputtokencounts", "getinputtokencounts"),
        ("listVectorStoreFiles", "list_vector_store_files"),
        ("getAPIKey", "get_api_key"),
        ("CreateVideo2Remix", "create_video2_remix"),
        ("a.b:c", "a_b_c"),
    ],
)
def test_an_operation_id_becomes_a_python_name(operation_id: str, name: str) -> None:
    assert python_name(operation_id) == name


@pytest.mark.parametrize(
    ("parameter", "argument"),
    [("include[]", "include"), ("OpenAI-Beta", "OpenAI_Beta"), ("run_id", "run_id")],
)
def test_a_parameter_becomes_an_argument(parameter: str, argument: str) -> None:
    assert argument_name(parameter) == argument


def test_every_name_is_an_identifier_and_unique(editions: dict[str, Edition]) -> None:
    for edition in editions.values():
        names = [operation.name for operation in edition.operations]
        assert all(name.isidentifier() for name in names)
        assert len(set(names)) == len(names)
        for operation in edition.operations:
            arguments = [one.argument for one in operation.parameters if one.location in ("path", "query")]
            assert all(argument.isidentifier() for argument in arguments)
            assert len(set(arguments)) == len(arguments)


def test_an_operation_has_one_name_in_all_editions(editions: dict[str, Edition]) -> None:
    names: dict[tuple[str, str, str], set[str]] = {}
    for edition in editions.values():
        for one in edition.operations:
            names.setdefault((one.method, one.path, str(one.query)), set()).add(one.name)
    assert {place: found for place, found in names.items() if len(found) > 1} == {}


def test_every_rename_is_of_an_operation(editions: dict[str, Edition]) -> None:
    known = {one.id for edition in editions.values() for one in edition.operations}
    assert set(RENAMES) <= known
