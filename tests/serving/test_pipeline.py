"""An operation called without a socket goes through the same stages as an HTTP request."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from handlers.context import Limits, Principal
from serving.app import create_app
from serving.asgi import ASGIApplication
from serving.interruptions import WATCH_AFTER
from serving.responses import Response
from serving.settings import Settings
from tests.provider import ProviderProcess
from tests.server import base_environment

ALICE, BOB = Principal("alice"), Principal("bob", limits=Limits(body=200))


@pytest.fixture
async def app(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[ASGIApplication]:
    settings = Settings.read(
        ASTROLABE_STORE=f"sqlite:///{tmp_path}/a.db",
        ASTROLABE_CACHE=base_environment()["ASTROLABE_CACHE"],
        OPENAI_API_KEY="sk-x",
        OPENAI_BASE_URL=provider.url,
    )
    app = create_app(settings)
    await app.services.store.migrate()
    await app.services.store.open()
    await app.services.gateway.open()
    yield app
    await app.services.gateway.close()
    await app.services.store.close()


def content(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return orjson.loads(response.body)


async def test_an_operation_is_called_without_a_socket(app: ASGIApplication) -> None:
    made = await app.call("createThread", {"body": {"metadata": {"a": "b"}}}, ALICE)
    assert made.status == 200
    thread = content(made)
    assert thread["metadata"] == {"a": "b"}
    assert content(await app.call("getThread", {"thread_id": thread["id"]}, ALICE)) == thread


async def test_a_call_waits_for_a_slow_provider_and_stops_nothing_else(app: ASGIApplication) -> None:
    script = json.dumps({"tag": secrets.token_hex(8), "turns": [{"text": "late", "wait": 2 * WATCH_AFTER}]})
    body = {"model": "m", "messages": [{"role": "user", "content": f"script: {script}"}]}
    answer = content(await app.call("createChatCompletion", {"body": body}, ALICE))
    assert answer["choices"][0]["message"]["content"] == "late"


async def test_the_principal_bounds_what_a_call_sees(app: ASGIApplication) -> None:
    thread = content(await app.call("createThread", {"body": {}}, ALICE))
    assert (await app.call("getThread", {"thread_id": thread["id"]}, BOB)).status == 404


async def test_a_call_is_validated_as_a_request_is(app: ASGIApplication) -> None:
    refused = await app.call("createAssistant", {"body": {"model": "m", "temperature": 9}}, ALICE)
    assert (refused.status, content(refused)["error"]["param"]) == (400, "temperature")
    refused = await app.call("listAssistants", {"limit": "many"}, ALICE)
    assert (refused.status, content(refused)["error"]["param"]) == (400, "limit")
    assert content(await app.call("listAssistants", {"limit": 1}, ALICE))["data"] == []


async def test_a_call_is_held_to_its_callers_limits(app: ASGIApplication) -> None:
    body = {"model": "m", "instructions": "x" * 300}
    assert (await app.call("createAssistant", {"body": body}, BOB)).status == 413
    assert (await app.call("createAssistant", {"body": body}, ALICE)).status == 200


async def test_a_call_of_what_is_not_served_answers_as_http_does(app: ASGIApplication) -> None:
    refused = await app.call("listEvals", {}, ALICE)
    names = [value for name, value in refused.headers if name == b"x-should-retry"]
    assert (refused.status, names) == (501, [b"false"])
    assert (await app.call("createNonsense", {}, ALICE)).status == 404
