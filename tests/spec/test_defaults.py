"""What handlers leave to the edition: bounds, defaults, and the limits of metadata."""

from collections.abc import Iterator
from typing import Any

import pytest

from handlers.pages import PageQuery
from handlers.registry import registered_handlers
from spec.edition import Edition, shipped
from spec.errors import InvalidRequest
from spec.operation import Operation
from spec.schema import PREFIX
from spec.types import JSON


def served(edition: Edition) -> Iterator[Operation]:
    return (one for one in edition.operations if one.name in registered_handlers())


LISTS_OF_PROVIDERS = {
    "list_fine_tuning_checkpoint_permissions",
    "list_fine_tuning_job_checkpoints",
    "list_videos",
}
"""Lists that a provider, or nobody, bounds."""


@pytest.mark.parametrize("name", shipped())
def test_every_served_list_has_a_bounded_limit_and_an_order(editions: dict[str, Edition], name: str) -> None:
    found = 0
    for operation in served(editions[name]):
        schemas = {one.name: one.schema for one in operation.parameters}
        if "limit" not in schemas or operation.name in LISTS_OF_PROVIDERS:
            continue
        found += 1
        defaults = operation.decode_query(b"")
        assert defaults.keys() == {"limit"} | ({"order"} & schemas.keys()) <= PageQuery.__annotations__.keys()
        most = schemas["limit"]["maximum"]
        assert operation.decode_query(b"limit=1")["limit"] == 1
        for limit in (0, most + 1):
            with pytest.raises(InvalidRequest) as refused:
                operation.decode_query(b"limit=%d" % limit)
            assert refused.value.param == "limit"
        if "order" in schemas:
            assert defaults["order"] in ("asc", "desc")
            with pytest.raises(InvalidRequest, match="'asc' and 'desc'"):
                operation.decode_query(b"order=up")
    assert found >= 6


TOO_MUCH = [{str(number): "x" for number in range(17)}, {"k" * 65: "x"}, {"k": "x" * 513}, {"k": 1}]


def metadata_schemas(schema: Any, components: JSON) -> Iterator[Any]:
    """Yield the schema of each `metadata` in a request, at any depth."""
    todo, seen = [schema], set()
    while todo:
        one = todo.pop()
        if isinstance(one, list):
            todo += one
        if not isinstance(one, dict):
            continue
        reference = one.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            todo.append(components[reference.removeprefix(PREFIX)])
        if "metadata" in one.get("properties", {}):
            yield one["properties"]["metadata"]
        todo += one.values()


@pytest.mark.parametrize("name", shipped())
def test_the_limits_of_metadata_hold_in_every_served_request(editions: dict[str, Edition], name: str) -> None:
    from spec.validation import RequestValidator

    components = editions[name].document["components"]["schemas"]
    found = 0
    for operation in served(editions[name]):
        if "realtime" in operation.name:  # the metadata of a trace is any object
            continue
        for body in operation.bodies.values():
            for schema in metadata_schemas(body.schema, components):
                found += 1
                validator = RequestValidator({"properties": {"metadata": schema}}, components)
                validator.check({"metadata": {f"{number:064}": "x" * 512 for number in range(16)}})
                for metadata in TOO_MUCH:
                    with pytest.raises(InvalidRequest):
                        validator.check({"metadata": metadata})
    assert found >= 8


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("function", ["get weather", "", "f" * 65, "é"])
def test_a_function_has_a_name_that_models_can_call(
    editions: dict[str, Edition], name: str, function: str
) -> None:
    operations = {one.name: one for one in editions[name].operations}
    for id, body in (
        ("create_assistant", {"model": "m"}),
        ("modify_assistant", {}),
        ("create_run", {"assistant_id": "a"}),
    ):
        tools = [{"type": "function", "function": {"name": function}}]
        with pytest.raises(InvalidRequest) as refused:
            operations[id].bodies["application/json"].check({**body, "tools": tools})
        assert refused.value.param == "tools[0].function.name"
