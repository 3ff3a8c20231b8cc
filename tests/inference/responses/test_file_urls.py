"""Input files by URL reach a model as uploaded ones do."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from handlers import conversations
from handlers.errors import BadRequest
from inference.gateway import Gateway
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.url_files import UrlFiles
from inference.responses import responses
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.inference.engine.conftest import Asked, asked
from tests.inference.engine.process import script
from tests.inference.responses.worker import Worker, worker

__all__ = ["asked"]


class Site:
    """A web server on loopback that has these files."""

    def __init__(self) -> None:
        self.files = {"/a.txt": b"Aye.", "/b.pdf": b"%PDF-1.4"}
        self.host = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        body = self.files.get(path)
        status = b"404 Not Found" if body is None else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body or b""), body or b""))
        await reader.read()
        writer.close()

    def part(self, path: str, **more: str) -> JSON:
        return {"type": "input_file", "file_url": f"http://{self.host}{path}", **more}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    async with server:
        made.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


@pytest.fixture
async def one(store: Store, gateway: Gateway, site: Site) -> AsyncIterator[Worker]:
    async with worker(store, gateway, urls=UrlFiles(HostGuard(frozenset({site.host})))) as made:
        yield made


def user(*parts: JSON) -> list[JSON]:
    return [{"role": "user", "content": list(parts)}]


async def test_a_file_by_url_is_read_in_its_response_and_those_that_continue_it(
    one: Worker, site: Site, asked: Asked
) -> None:
    text = {"type": "input_text", "text": script({"text": "Aye."}, {"text": "Aye."}, tag=asked.tag)}
    first = await one.create(user(text, site.part("/a.txt"), site.part("/b.pdf", filename="c.pdf")))
    parts = asked.all()[0]["messages"][0]["content"]
    assert parts[1] == {"type": "text", "text": "[File a.txt]\nAye."}
    assert parts[2]["file"]["filename"] == "c.pdf"
    assert parts[2]["file"]["file_data"].startswith("data:application/pdf;base64,JVBERi0")
    del site.files["/a.txt"]
    await one.create("And now?", previous_response_id=first["id"])
    kept = asked.all()[1]["messages"][0]["content"]
    assert "cannot be downloaded" in kept[1]["text"]
    assert kept[2] == parts[2]


async def test_a_file_that_cannot_be_fetched_is_refused_by_its_name(one: Worker, site: Site) -> None:
    error = await refused(one.create(user(site.part("/none"))), BadRequest)
    assert (error.param, error.code) == ("input[0].content[0].file_url", "failed_to_download_file")
    for part in (site.part("/a.txt"), {"type": "input_file", "file_url": "http://127.0.0.1:1/x"}):
        call = one.create(user({"type": "input_text", "text": "x"}, part), store=False)
        if part["file_url"].endswith("/x"):
            assert "ASTROLABE_FILE_HOSTS" in (await refused(call, BadRequest)).message
        else:
            await call


async def test_the_files_of_a_request_have_a_size_together(
    one: Worker, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_BYTES", 6)
    site.files["/c.txt"] = b"Aye."
    await one.create(user(site.part("/a.txt"), site.part("/a.txt")))
    error = await refused(one.create(user(site.part("/a.txt"), site.part("/c.txt"))), BadRequest)
    assert error.param == "input[0].content[1].file_url"
    assert error.message.endswith("it has more than 2 bytes.")


async def test_a_request_has_at_most_ten_files_by_url(one: Worker, site: Site) -> None:
    error = await refused(one.create(user(*[site.part("/a.txt")] * 11)), BadRequest)
    assert (error.param, error.code) == ("input[0].content[10].file_url", "array_above_max_length")


async def test_a_conversations_item_shows_its_url_as_it_was_sent(
    one: Worker, site: Site, asked: Asked
) -> None:
    conversation = await one.conversation()
    part = site.part("/a.txt")
    await conversations.create_conversation_items(
        one.context(), conversation, {"items": [{"type": "message", **user(part)[0]}]}
    )
    assert [item["content"] for item in await one.items(conversation)] == [[part]]
    await one.create(script({"text": "Aye."}, tag=asked.tag), conversation=conversation)
    assert asked.all()[0]["messages"][0]["content"] == "[File a.txt]\nAye."
    bad = {"items": [{"type": "message", **user({**part, "file_url": "file:///etc/passwd"})[0]}]}
    error = await refused(conversations.create_conversation_items(one.context(), conversation, bad))
    assert (error.param, error.code) == ("items[0].content[0].file_url", "invalid_url")
