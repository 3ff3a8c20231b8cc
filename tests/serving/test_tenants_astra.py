"""Tokens that open databases: two workers, Astra's DevOps API on loopback, a real node behind TLS and passwords."""

import asyncio
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.fixtures.cassandra import TOKEN, PasswordNode
from tests.fixtures.required import requires
from tests.persistence.cassandra.devops import DATABASE, Astra, serving, way_in
from tests.provider import ProviderProcess
from tests.server import Server, command, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.cassandra,
    pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning"),
    pytest.mark.timeout(300),
]

WRONG = "AstraCS:wrong:0123456789abcdef"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, password_node: PasswordNode) -> Iterator[Astra]:
    """The DevOps API of one database, in an event loop of its own."""
    node = password_node.address, password_node.host_id
    loop = asyncio.new_event_loop()
    stack = AsyncExitStack()

    async def make(keyspace: str) -> None:
        await asyncio.to_thread(password_node.create_keyspace, keyspace)

    async def start() -> Astra:
        content = await stack.enter_async_context(way_in(tmp_path_factory.mktemp("tls"), *node))
        api = Astra(bundle=content, made=make)
        port = await stack.enter_async_context(serving(api.application()))
        api.url = f"http://127.0.0.1:{port}"
        return api

    api = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield api
    asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, api: Astra, provider: ProviderProcess
) -> Iterator[Server]:
    store = f"astra:///a_{secrets.token_hex(6)}?api={api.url}&wait=3"
    models = {"OPENAI_API_KEY": "sk-the-operators", "OPENAI_BASE_URL": provider.url}
    folder = tmp_path_factory.mktemp("tokens")
    with Server(folder, ASTROLABE_AUTH="astra", ASTROLABE_STORE=store, **models) as server:
        yield server


def ask(server: Server, method: str, path: str, body: object = None, token: str = TOKEN) -> httpx.Response:
    headers = {"astra-api-token": token, "astra-db-id": DATABASE}
    return httpx.request(method, f"{server.url}/{path}", headers=headers, json=body, timeout=120)


@requires(shutil.which("openssl"), "openssl is not installed")
def test_a_token_opens_its_database_in_every_worker(
    server: Server, api: Astra, provider: ProviderProcess
) -> None:
    # A database that sleeps is a 503, until it is resumed.
    api.status, api.maintenance = "HIBERNATED", 0
    answer = ask(server, "GET", "assistants")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert TOKEN not in answer.text

    api.status = "ACTIVE"

    def is_served() -> bool:
        return all(ask(server, "GET", "assistants").status_code == 200 for _ in range(10))

    until(is_served, seconds=60)  # each worker remembers the failure for some seconds
    id = ask(server, "POST", "assistants", {"model": "m"}).json()["id"]
    assert [ask(server, "GET", f"assistants/{id}").status_code for _ in range(10)] == [200] * 10

    # Its runs are the store's, and their events reach the client.
    messages = [{"role": "user", "content": "Hello there"}]
    thread = ask(server, "POST", "threads", {"messages": messages}).json()["id"]
    run = ask(server, "POST", f"threads/{thread}/runs", {"assistant_id": id, "stream": True})
    assert "thread.run.completed" in run.text
    assert [one["status"] for one in ask(server, "GET", f"threads/{thread}/runs").json()["data"]] == [
        "completed"
    ]

    # What is open is not opened again.
    before = len(api.requests)
    assert [ask(server, "GET", "threads").status_code for _ in range(10)] == [200] * 10
    assert len(api.requests) == before


@requires(shutil.which("openssl"), "openssl is not installed")
def test_a_wrong_token_is_401_and_the_api_is_not_asked_each_time(server: Server, api: Astra) -> None:
    before = len(api.requests)
    for _ in range(10):
        answer = ask(server, "GET", "assistants", token=WRONG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert WRONG not in answer.text
    assert len(api.requests) - before <= 4
    written = [path for path in server.folder.rglob("*") if path.is_file()]
    assert written
    for token in (TOKEN, WRONG):
        assert not [path for path in written if token.encode() in path.read_bytes()]
        assert token not in httpx.get(f"{server.root}/metrics").text


@requires(shutil.which("openssl"), "openssl is not installed")
def test_probes_need_no_database(server: Server) -> None:
    assert httpx.get(f"{server.root}/readyz").status_code == 200
    assert httpx.get(f"{server.url}/health").json() == {"status": "alive"}


@requires(shutil.which("openssl"), "openssl is not installed")
def test_what_is_imported_for_a_token_is_in_its_database(server: Server, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "threads.jsonl").write_text('{"id": "thread_imported", "created_at": 1}\n')
    variables = {"ASTROLABE_AUTH": "astra", "ASTROLABE_STORE": server.environment["ASTROLABE_STORE"]}
    tenant = ("--token", TOKEN, "--database", DATABASE)
    run = command(tmp_path, "import", "export", *tenant, OPENAI_API_KEY="sk-x", **variables)
    assert run.returncode == 0, run.stderr
    assert TOKEN not in run.stderr + run.stdout
    assert ask(server, "GET", "threads/thread_imported").status_code == 200
