"""Handlers are registered under operationIds that an edition knows, each once."""

import inspect

import pytest

from handlers.context import Context
from handlers.registry import operation, registered_handlers
from persistence.types import JSON
from spec import edition


def test_every_handler_serves_an_operation_of_some_edition() -> None:
    known = {one.id for name in edition.shipped() for one in edition.load(name, None).operations}
    registered = {one.operation_id for one in registered_handlers().values()}
    assert sorted(registered - known) == []


def test_a_second_handler_of_an_operation_is_refused() -> None:
    registered_handlers()
    with pytest.raises(
        RuntimeError, match=r"createRun has two handlers: handlers\.runs\.create_run and .*again"
    ):

        @operation("createRun")
        async def again(context: Context) -> JSON:
            return {}


def test_a_helper_is_not_registered() -> None:
    assert "find_assistant" not in registered_handlers()


def test_a_handler_of_an_optional_body_can_do_without_it() -> None:
    optional = set()
    for name in edition.shipped():
        loaded = edition.load(name, None)
        for one in loaded.operations:
            registered = registered_handlers().get(one.name)
            asked = loaded.document["paths"][one.path][one.method.lower()].get("requestBody")
            if registered is None or asked is None or asked.get("required"):
                continue
            optional.add(one.name)
            body = inspect.signature(registered.handle).parameters["body"]
            assert body.default is not inspect.Parameter.empty, (name, one.name)
    assert "create_conversation" in optional
