"""The API by HTTP alone, with a sync and an async client, and the headers of Astra Assistants."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.server import Server

Send = Callable[..., Awaitable[httpx.Response]]

HEADERS = {
    "astra-api-token": "AstraCS:of:http",
    "Authorization": "Bearer sk-http",
    "OpenAI-Beta": "assistants=v2",
}

pytestmark = pytest.mark.server


@pytest.fixture(params=["sync", "async"])
def run(
    request: pytest.FixtureRequest, astra_server: Server
) -> Iterator[Callable[[Callable[[Send], Any]], Any]]:
    """Run a test's coroutine with `send(method, path, …)` of either client."""

    def with_sync(test: Callable[[Send], Any]) -> Any:
        with httpx.Client(base_url=astra_server.url, headers=HEADERS, timeout=30) as client:

            async def send(*arguments: Any, **fields: Any) -> httpx.Response:
                return client.request(*arguments, **fields)

            return asyncio.run(test(send))

    def with_async(test: Callable[[Send], Any]) -> Any:
        async def main() -> Any:
            async with httpx.AsyncClient(base_url=astra_server.url, headers=HEADERS, timeout=30) as client:
                return await test(client.request)

        return asyncio.run(main())

    yield with_sync if request.param == "sync" else with_async


def test_assistants_are_created_read_changed_listed_and_deleted(run: Callable[..., Any]) -> None:
    async def test(send: Send) -> None:
        made = (await send("POST", "/assistants", json={"model": "m", "name": "Ada"})).json()
        path = f"/assistants/{made['id']}"
        assert (await send("GET", path)).json() == made
        assert (await send("POST", path, json={"name": "Bea"})).json()["name"] == "Bea"
        assert made["id"] in [one["id"] for one in (await send("GET", "/assistants")).json()["data"]]
        assert (await send("DELETE", path)).json()["deleted"] is True
        gone = await send("GET", path)
        assert (gone.status_code, gone.json()["error"]["type"]) == (404, "invalid_request_error")

    run(test)


def test_a_run_answers_and_streams(run: Callable[..., Any]) -> None:
    async def test(send: Send) -> None:
        assistant = (await send("POST", "/assistants", json={"model": "m"})).json()["id"]
        thread = (await send("POST", "/threads", json={})).json()["id"]
        await send("POST", f"/threads/{thread}/messages", json={"role": "user", "content": "hi"})
        body = {"assistant_id": assistant, "stream": True}
        streamed = await send("POST", f"/threads/{thread}/runs", json=body)
        assert streamed.headers["content-type"].startswith("text/event-stream")
        lines = streamed.text.splitlines()
        events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        assert (events[0], events[-2:]) == ("thread.run.created", ["thread.run.completed", "done"])
        messages = (await send("GET", f"/threads/{thread}/messages")).json()["data"]
        assert [one["content"][0]["text"]["value"] for one in messages] == ["You said: hi", "hi"]

    run(test)


def test_files_are_uploaded_searched_and_deleted(run: Callable[..., Any]) -> None:
    async def test(send: Send) -> None:
        form = {"data": {"purpose": "assistants"}, "files": {"file": ("birds.txt", b"Penguins swim.")}}
        file = (await send("POST", "/files", **form)).json()
        assert file["embedding_model"] == "openai/text-embedding-3-small"
        store = (await send("POST", "/vector_stores", json={"file_ids": [file["id"]]})).json()["id"]
        while (await send("GET", f"/vector_stores/{store}")).json()["status"] == "in_progress":
            await asyncio.sleep(0.05)
        found = await send("POST", f"/vector_stores/{store}/search", json={"query": "penguins"})
        assert found.json()["data"][0]["content"][0]["text"] == "Penguins swim."
        assert (await send("DELETE", f"/files/{file['id']}")).json()["deleted"] is True
        assert (await send("DELETE", f"/files/{file['id']}")).json()["deleted"] is True
        assert (await send("GET", f"/files/{file['id']}")).status_code == 404

    run(test)


def test_a_message_is_rewritten_while_no_run_is_active(run: Callable[..., Any]) -> None:
    async def test(send: Send) -> None:
        thread = (await send("POST", "/threads", json={})).json()["id"]
        path = f"/threads/{thread}/messages"
        message = (await send("POST", path, json={"role": "user", "content": "a"})).json()["id"]
        changed = (
            await send("POST", f"{path}/{message}", json={"content": "b", "metadata": {"k": "v"}})
        ).json()
        assert (changed["content"][0]["text"]["value"], changed["metadata"]) == ("b", {"k": "v"})
        refused = await send("POST", f"{path}/{message}", json={"content": "b", "colour": "red"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "colour")

    run(test)


def test_chats_and_embeddings_need_no_token(run: Callable[..., Any]) -> None:
    async def test(send: Send) -> None:
        alone = {"headers": {"astra-api-token": ""}}
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        answer = await send("POST", "/chat/completions", json=body, **alone)
        assert answer.json()["choices"][0]["message"]["content"] == "You said: hi"
        embedded = await send("POST", "/embeddings", json={"model": "e", "input": "hi"}, **alone)
        assert len(embedded.json()["data"]) == 1
        assert (await send("GET", "/assistants", **alone)).status_code == 403

    run(test)


def test_only_the_clients_that_share_connections_between_loops_get_them_closed(
    run: Callable[..., Any],
) -> None:
    async def test(send: Send) -> None:
        old = {"x-stainless-async": "async:asyncio", "x-stainless-package-version": "1.109.1"}
        new = {**old, "x-stainless-package-version": "2.54.0"}
        assert (await send("GET", "/assistants", headers=old)).headers["connection"] == "close"
        assert "connection" not in (await send("GET", "/assistants", headers=new)).headers
        assert json.loads((await send("GET", "/health", headers=old)).content) == {"status": "alive"}

    run(test)
