"""What was observed of the service is valid, erratum by erratum and answer by answer."""

import copy
from typing import Any

import pytest

from spec.edition import Edition, load, shipped
from spec.errata import ERRATA, apply_errata
from spec.errors import InvalidRequest
from spec.normalize import normalize
from spec.operation import Operation
from spec.reading import parse, read
from spec.types import JSON
from tests.spec.observed import ANSWERS, page
from tests.spec.test_edition import EDITIONS


@pytest.fixture(scope="session")
def uncorrected() -> dict[str, JSON]:
    return {
        name: normalize(parse(read(EDITIONS / f"{name}.yaml"), name), name)
        for name in ("2024-04-12-assistants-v1", "2026-08-21")
    }


@pytest.mark.parametrize("erratum", ERRATA, ids=lambda one: one.name)
def test_an_erratum_changes_an_edition_once(erratum: Any, uncorrected: dict[str, JSON]) -> None:
    documents = copy.deepcopy(list(uncorrected.values()))
    applied = [document for document in documents if erratum.change(document)]
    assert applied
    for document in applied:
        assert document not in uncorrected.values()
        before = copy.deepcopy(document)
        erratum.change(document)
        assert document == before


def test_errata_do_nothing_to_a_spec_without_their_schemas() -> None:
    document = {"paths": {}, "components": {"schemas": {"Other": {"type": "object"}}}}
    assert apply_errata(copy.deepcopy(document)) == document


def by_id(edition: Edition) -> dict[str, Operation]:
    return {one.id: one for one in edition.operations}


V1_ALSO = {"createAssistant", "listAssistants", "createMessage", "listMessages", "createRun", "listRuns"}


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("operation_id", ANSWERS)
def test_what_the_service_answers_is_valid(
    name: str, operation_id: str, editions: dict[str, Edition]
) -> None:
    operation = by_id(editions[name]).get(operation_id)
    if operation is None:
        assert name != max(editions)
        return
    answer = copy.deepcopy(ANSWERS[operation_id])
    if "v1" in name and operation_id in V1_ALSO:
        # These objects were observed in v2, which has file_ids no more.
        for one in answer.get("data", [answer]):
            one["file_ids"] = []
    validator = operation.response(200) or operation.response(201)
    assert validator is not None
    validator.check(answer)
    validator.relayed.check(answer)


LISTS = [operation_id for operation_id in ANSWERS if operation_id.startswith("list")]


@pytest.mark.parametrize("operation_id", LISTS)
def test_an_empty_list_is_valid(operation_id: str, newest: Edition) -> None:
    validator = by_id(newest)[operation_id].response(200)
    assert validator is not None
    validator.check(page())


@pytest.mark.parametrize(
    ("operation_id", "most"), [("listAssistants", 100), ("listMessages", 100), ("listFiles", 10_000)]
)
def test_the_limit_of_a_list_is_bounded(operation_id: str, most: int, newest: Edition) -> None:
    operation = by_id(newest)[operation_id]
    assert operation.decode_query(b"limit=%d" % most)["limit"] == most
    for limit in (0, -1, most + 1):
        with pytest.raises(InvalidRequest) as refused:
            operation.decode_query(b"limit=%d" % limit)
        assert refused.value.param == "limit"


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize(
    "operation_id", ["createAssistant", "createThread", "createMessage", "createRun", "modifyThread"]
)
def test_metadata_is_limited_in_every_edition(
    name: str, operation_id: str, editions: dict[str, Edition]
) -> None:
    body = by_id(editions[name])[operation_id].bodies["application/json"]
    good: JSON = {
        "createAssistant": {"model": "gpt-4"},
        "createMessage": {"role": "user", "content": "hi"},
        "createRun": {"assistant_id": "a"},
    }.get(operation_id, {})
    body.check(good | {"metadata": {f"{number:064}": "v" * 512 for number in range(16)}})
    body.check(good | {"metadata": None})
    for metadata in ({str(number): "" for number in range(17)}, {"k" * 65: ""}, {"k": "v" * 513}, {"k": 1}):
        with pytest.raises(InvalidRequest) as refused:
            body.check(good | {"metadata": metadata})
        assert (refused.value.param or "").startswith("metadata")


@pytest.mark.parametrize("name", shipped())
def test_every_purpose_that_a_file_may_be_uploaded_for_is_one_of_a_file(
    name: str, editions: dict[str, Edition]
) -> None:
    schemas = editions[name].document["components"]["schemas"]
    asked = schemas["CreateFileRequest"]["properties"]["purpose"]["enum"]
    assert set(asked) <= set(schemas["OpenAIFile"]["properties"]["purpose"]["enum"])


@pytest.mark.parametrize("name", shipped())
def test_the_content_of_a_file_is_bytes(name: str, editions: dict[str, Edition]) -> None:
    operation = by_id(editions[name])["downloadFile"]
    assert list(operation.responses["200"]) == ["application/octet-stream"]


@pytest.mark.parametrize("operation_id", ["createAssistant", "createThread"])
def test_an_object_may_have_an_existing_and_a_new_vector_store(operation_id: str, newest: Edition) -> None:
    validator = by_id(newest)[operation_id].response(200)
    assert validator is not None
    answer = copy.deepcopy(ANSWERS[operation_id])
    answer["tool_resources"] = {"file_search": {"vector_store_ids": ["vs_1", "vs_2"]}}
    validator.check(answer)


def test_metadata_of_a_new_threads_messages_is_limited(newest: Edition) -> None:
    body = by_id(newest)["createThreadAndRun"].bodies["application/json"]
    with pytest.raises(InvalidRequest) as refused:
        body.check(
            {
                "assistant_id": "a",
                "thread": {"messages": [{"role": "user", "content": "", "metadata": {"k": 1}}]},
            }
        )
    assert refused.value.param == "thread.messages[0].metadata.k"


def test_an_edition_by_path_is_corrected_too(newest: Edition) -> None:
    assert load(str(EDITIONS / f"{newest.name}.yaml"), None).document == newest.document


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize(
    "operation_id", ["createCompletion", "createRun", "createThreadAndRun", "submitToolOuputsToRun"]
)
def test_operations_with_stream_may_answer_events(
    name: str, operation_id: str, editions: dict[str, Edition]
) -> None:
    assert "text/event-stream" in by_id(editions[name])[operation_id].responses["200"]


@pytest.mark.parametrize("operation_id", ["createChatCompletion", "createCompletion"])
@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, -9223372036854776001.0])
def test_a_seed_of_more_than_64_bits_is_refused(operation_id: str, seed: float, newest: Edition) -> None:
    asked = {"model": "m", "prompt": "", "messages": [{"role": "user", "content": "hi"}]}
    del asked["prompt" if operation_id == "createChatCompletion" else "messages"]
    body = by_id(newest)[operation_id].bodies["application/json"]
    body.check(asked | {"seed": 2**63 - 1})
    with pytest.raises(InvalidRequest) as refused:
        body.check(asked | {"seed": seed})
    assert refused.value.param == "seed"


ATTACHED = {"role": "user", "content": "x", "attachments": [{"tools": [{"type": "file_search"}]}]}
MESSAGE = {"role": "user", "content": "x"}
ATTACHMENT = {"file_id": "f", "tools": []}
REFUSED_IN_EVERY_EDITION = [
    ("createThread", {"messages": [MESSAGE] * 33}, "messages"),
    ("createThreadAndRun", {"assistant_id": "a", "thread": {"messages": [MESSAGE] * 33}}, "thread.messages"),
    ("createRun", {"assistant_id": "a", "additional_messages": [MESSAGE] * 101}, "additional_messages"),
    ("createAssistant", {"model": "m" * 257}, "model"),
    ("createChatCompletion", {"model": "m" * 257, "messages": [MESSAGE]}, "model"),
    ("createEmbedding", {"model": "m" * 257, "input": "x"}, "model"),
    ("createMessage", {"role": "user", "content": "x" * 256_001}, "content"),
]
REFUSED_IN_VERSION_2 = [
    (
        "createThread",
        {"messages": [{**MESSAGE, "attachments": [ATTACHMENT] * 101}]},
        "messages[0].attachments",
    ),
    (
        "createThread",
        {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": ["f"] * 10_001}]}}},
        "tool_resources.file_search.vector_stores[0].file_ids",
    ),
]
REFUSED = [(name, *case) for name in shipped() for case in REFUSED_IN_EVERY_EDITION]
REFUSED += [(name, *case) for name in shipped() if "v1" not in name for case in REFUSED_IN_VERSION_2]


@pytest.mark.parametrize(("name", "operation_id", "body", "param"), REFUSED)
def test_the_size_of_one_request_is_bounded(
    name: str, operation_id: str, body: JSON, param: str, editions: dict[str, Edition]
) -> None:
    with pytest.raises(InvalidRequest, match="too long") as refused:
        by_id(editions[name])[operation_id].bodies["application/json"].check(body)
    assert refused.value.param == param


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize(
    ("operation_id", "body"),
    [
        ("createAssistant", {}),
        ("modifyAssistant", {}),
        ("createRun", {"assistant_id": "a"}),
        ("createThreadAndRun", {"assistant_id": "a"}),
        ("createChatCompletion", {"messages": [MESSAGE]}),
        ("createEmbedding", {"input": "x"}),
    ],
)
def test_a_models_name_is_not_empty(
    name: str, operation_id: str, body: JSON, editions: dict[str, Edition]
) -> None:
    schema = by_id(editions[name])[operation_id].bodies["application/json"]
    schema.check({**body, "model": "m"})
    with pytest.raises(InvalidRequest, match="empty string") as refused:
        schema.check({**body, "model": ""})
    assert refused.value.param == "model"


@pytest.mark.parametrize("name", [name for name in shipped() if "v1" not in name])
def test_an_attachment_names_its_file(name: str, editions: dict[str, Edition]) -> None:
    operations = by_id(editions[name])
    for operation_id, body, param in (
        ("createMessage", ATTACHED, "attachments[0].file_id"),
        ("createThread", {"messages": [ATTACHED]}, "messages[0].attachments[0].file_id"),
    ):
        with pytest.raises(InvalidRequest, match="Missing required parameter") as refused:
            operations[operation_id].bodies["application/json"].check(body)
        assert refused.value.param == param
    whole = [{"file_id": "file-1", "tools": [{"type": "file_search"}]}]
    operations["createMessage"].bodies["application/json"].check({**MESSAGE, "attachments": whole})
