"""Export over HTTP into a folder, and import of it into another store."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from inference.transfer.client import SourceClient, SourceError
from tests.provider import ProviderProcess
from tests.server import Server, command

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

STORMS = "All about winter storms. They break the harbour's wall every year."
SEARCH = {"calls": [{"name": "file_search", "arguments": {"queries": ["winter storms"]}}]}
CITING = "script: " + json.dumps({"turns": [SEARCH, {"text": "Walls break {find:【0:\\d†storms.txt】}."}]})
KINDS = [
    "files",
    "vector_stores",
    "vector_store_files",
    "assistants",
    "threads",
    "messages",
    "runs",
    "run_steps",
    "conversations",
    "conversation_items",
]


def done(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def serving(folder: Path, provider: ProviderProcess, **environment: str) -> Server:
    folder.mkdir(exist_ok=True)
    return Server(folder, OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="sk-provider", **environment)


@pytest.fixture(scope="module")
def source(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with something of everything."""
    with serving(tmp_path_factory.mktemp("source"), provider) as server:
        client = OpenAI(base_url=server.url, api_key="any", max_retries=0)
        files = [
            client.files.create(file=(name, text.encode()), purpose="assistants").id
            for name, text in (
                ("storms.txt", STORMS),
                ("ships.txt", "Ships sail in June."),
                ("empty.txt", ""),
            )
        ]
        store = client.vector_stores.create(name="Weather", metadata={"a": "b"})
        client.vector_stores.files.create_and_poll(
            files[0], vector_store_id=store.id, attributes={"year": 1999}
        )
        client.vector_stores.files.create_and_poll(files[1], vector_store_id=store.id)
        assistant = client.beta.assistants.create(
            model="m",
            name="Ada",
            temperature=0.5,
            tools=[{"type": "file_search"}],
            tool_resources={"file_search": {"vector_store_ids": [store.id]}},
        )
        for content in (CITING, "Hello"):
            thread = client.beta.threads.create(messages=[{"role": "user", "content": content}])
            client.beta.threads.runs.create_and_poll(
                thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
            )
        image = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}
        conversation = client.conversations.create(
            metadata={"a": "b"}, items=[{"role": "user", "content": [image]}]
        )
        for text in "abc":
            client.conversations.items.create(conversation.id, items=[{"role": "user", "content": text}] * 20)
        yield server


@pytest.fixture(scope="module")
def folder(source: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    out = done(command(folder, "export", source.url, "out", "--key", "any"))
    assert "1 assistants" in out
    return folder / "out"


def everything(server: Server) -> dict[str, object]:
    """What a client sees, without what an import changes on purpose."""
    with httpx.Client(base_url=server.url, headers={"openai-beta": "assistants=v2"}, timeout=30) as http:

        def read(path: str, query: str = "") -> list[dict]:
            return http.get(f"{path}?limit=100&order=asc&{query}").raise_for_status().json()["data"]

        seen: dict[str, object] = {}
        for path in ("/assistants", "/files", "/vector_stores", "/threads"):
            for one in read(path):
                seen[f"{path}/{one['id']}"] = one
        for file in read("/files"):
            seen[f"content of {file['id']}"] = http.get(f"/files/{file['id']}/content").content
        for store in read("/vector_stores"):
            seen[f"files of {store['id']}"] = read(f"/vector_stores/{store['id']}/files")
        for one in read("/conversations"):
            seen[f"/conversations/{one['id']}"] = one
            seen[f"items of {one['id']}"] = read(
                f"/conversations/{one['id']}/items", "include=message.input_image.image_url"
            )
        for thread in read("/threads"):
            path = f"/threads/{thread['id']}"
            seen[f"messages of {path}"] = read(f"{path}/messages")
            seen[f"runs of {path}"] = runs = read(f"{path}/runs")
            for run in runs:
                seen[f"messages of {run['id']}"] = http.get(
                    f"{path}/messages", params={"run_id": run["id"]}
                ).json()
                seen[f"steps of {run['id']}"] = read(f"{path}/runs/{run['id']}/steps")
    return json.loads(json.dumps(seen, default=bytes.decode))


def ingested(server: Server) -> bool:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        stores = http.get("/vector_stores").json()["data"]
    return all(store["status"] == "completed" for store in stores)


def wait_ingested(server: Server) -> None:
    deadline = time.monotonic() + 30
    while not ingested(server):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("engine", ["sqlite", "cassandra"])
def test_an_imported_project_is_the_exported_one(
    source: Server,
    folder: Path,
    provider: ProviderProcess,
    tmp_path: Path,
    engine: str,
    request: pytest.FixtureRequest,
) -> None:
    url = "sqlite:///astrolabe.db" if engine == "sqlite" else request.getfixturevalue("cassandra_url")
    variables = {
        "ASTROLABE_STORE": url,
        "OPENAI_BASE_URL": provider.url,
        "OPENAI_API_KEY": "sk-provider",
    }
    out = done(command(tmp_path, "import", str(folder), **variables))
    assert "2 threads" in out
    assert "there already" not in out
    again = done(command(tmp_path, "import", str(folder), **variables))
    assert again.startswith("imported: nothing\nthere already: ")

    with serving(tmp_path, provider, **({"ASTROLABE_STORE": url} if engine == "cassandra" else {})) as server:
        wait_ingested(server)
        assert everything(server) == everything(source)
        client = OpenAI(base_url=server.url, api_key="any", max_retries=0)
        [store] = client.vector_stores.list().data
        [hit, *_] = client.vector_stores.search(store.id, query="winter storms").data
        assert (hit.filename, hit.attributes) == ("storms.txt", {"year": 1999})
        [assistant] = client.beta.assistants.list().data
        thread = client.beta.threads.messages.create(  # an imported thread goes on
            json.loads((folder / "threads.jsonl").read_text().splitlines()[0])["id"],
            role="user",
            content=CITING,
        ).thread_id
        run = client.beta.threads.runs.create_and_poll(
            thread_id=thread, assistant_id=assistant.id, poll_interval_ms=50
        )
        assert run.status == "completed"
        client.beta.threads.delete(thread)
        client.files.delete(client.files.list().data[0].id)


def test_an_export_goes_on_where_it_was_interrupted(source: Server, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "files").mkdir(parents=True)
    lines = (folder / "done.txt").read_text().splitlines()
    threads = [line for line in lines if line.startswith("thread ")]
    for path in folder.glob("*.jsonl"):
        (out / path.name).write_bytes(path.read_bytes())
    with (out / "messages.jsonl").open("a") as torn:
        torn.write('{"id": "msg_tor')
    (out / "done.txt").write_text("\n".join(line for line in lines if line != threads[0]) + "\nfile fi")
    said = done(command(tmp_path, "export", source.url, "out", "--key", "any"))
    assert "1 threads" in said
    assert "assistants" not in said
    assert set((out / "done.txt").read_text().splitlines()) == set(lines)
    for line in (out / "messages.jsonl").read_text().splitlines():
        json.loads(line)
    other = command(tmp_path, "export", "http://127.0.0.1:9/v1", "out", "--key", "any")
    assert other.returncode == 1


def test_the_text_of_a_file_is_kept_where_its_bytes_are_not_given(
    provider: ProviderProcess, tmp_path: Path
) -> None:
    with serving(tmp_path / "a", provider, ASTROLABE_DOWNLOAD_ASSISTANTS_FILES="false") as server:
        client = OpenAI(base_url=server.url, api_key="any", max_retries=0)
        store = client.vector_stores.create()
        page = ("storms.html", f"<p>{STORMS}</p>".encode())
        file = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=page)
        alone = client.files.create(file=("alone.txt", b"Alone."), purpose="assistants")
        run = command(tmp_path, "export", server.url, "out", "--key", "any")
    assert done(run).startswith("exported: ")
    assert f"file {file.id}: GET /files/{file.id}/content: 400" in run.stderr
    assert f"{alone.id}: GET" in run.stderr
    assert "it is not imported" in run.stderr
    imported = command(tmp_path, "import", "out", OPENAI_API_KEY="sk-x")
    assert imported.returncode == 1
    assert f"files {alone.id}: its content is not there" in imported.stderr
    with serving(tmp_path, provider, ASTROLABE_STORE=f"sqlite:///{tmp_path}/data/astrolabe.db") as server:
        client = OpenAI(base_url=server.url, api_key="any", max_retries=0)
        wait_ingested(server)
        assert client.files.retrieve(file.id).filename == "storms.html.txt"
        [hit] = client.vector_stores.search(store.id, query="winter storms").data
        assert STORMS in hit.content[0].text


def test_threads_are_exported_by_their_ids(source: Server, folder: Path, tmp_path: Path) -> None:
    wanted = json.loads((folder / "threads.jsonl").read_text().splitlines()[0])["id"]
    (tmp_path / "ids").write_text(f"{wanted}\nthread_missing\n")
    (tmp_path / "others").write_text("conv_missing\n")
    chosen = ("--threads", "ids", "--conversations", "others")
    run = command(tmp_path, "export", source.url, "out", "--key", "any", *chosen)
    assert run.returncode == 1
    assert "thread thread_missing: GET /threads/thread_missing: 404" in run.stderr
    assert "conversation conv_missing: GET /conversations/conv_missing: 404" in run.stderr
    assert not (tmp_path / "out" / "conversations.jsonl").exists()
    [line] = (tmp_path / "out" / "threads.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == wanted


def test_an_azure_endpoint_is_exported_with_its_header_and_version(
    source: Server, folder: Path, tmp_path: Path
) -> None:
    url = f"{source.root}/openai?api-version=2024-05-01-preview"
    done(command(tmp_path, "export", url, "out", "--header", "api-key: any"))
    for kind in KINDS:
        exported, same = ((path / f"{kind}.jsonl").read_text() for path in (folder, tmp_path / "out"))
        assert sorted(exported.splitlines()) == sorted(same.splitlines())
    assert (tmp_path / "out" / "source.txt").read_text() == f"{source.root}/openai\n"


def broken_records(thread: str) -> dict[str, list[dict[str, object]]]:
    message = {"id": "msg_1", "created_at": 1, "thread_id": thread, "role": "user"}
    too_deep: dict[str, object] = {}
    for _ in range(300):
        too_deep = {"type": "function", "function": {"name": "f", "parameters": too_deep}}
    return {
        "assistants": [
            {"id": "asst_1", "created_at": 1},
            {"id": "asst_2", "created_at": "soon", "model": "m"},
            {"id": "../etc", "created_at": 1, "model": "m"},
            {"id": ["asst_5"], "created_at": 1, "model": "m"},
            {"id": "asst_6", "created_at": 10**18, "model": "m"},
            {"id": "asst_7", "created_at": 1, "model": "m", "tools": [too_deep]},
            {"id": "asst_4", "created_at": 1, "model": "m", "tools": ["x"]},
        ],
        "messages": [
            {**message, "role": "king"},
            {**message, "id": "msg_2", "thread_id": "thread_missing"},
            {**message, "id": "msg_3", "content": [{"type": "text"}]},
        ],
        "conversation_items": [
            {
                "id": "msg_4",
                "conversation_id": "conv_missing",
                "created_at": 1,
                "number": 0,
                "item": {"type": "x"},
            },
            {"id": "msg_5", "created_at": 1, "number": 0, "item": {}},
        ],
        "vector_store_files": [{"id": "file-missing", "created_at": 1, "vector_store_id": "vs_missing"}],
    }


def test_broken_records_are_named_and_the_rest_is_imported(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "files").mkdir(parents=True)
    for path in folder.glob("*.jsonl"):
        (broken / path.name).write_bytes(path.read_bytes())
    bad = broken_records(json.loads((folder / "threads.jsonl").read_text().splitlines()[0])["id"])
    for kind, records in bad.items():
        with (broken / f"{kind}.jsonl").open("a") as file:
            file.writelines(f"{json.dumps(one)}\n" for one in records)
    with (broken / "threads.jsonl").open("a") as file:
        file.write('{"id": \n[]\n')

    run = command(tmp_path, "import", "broken", "--project", "p", OPENAI_API_KEY="sk-x")

    assert run.returncode == 1
    report = (tmp_path / "astrolabe-import.report").read_text()
    assert set(report.splitlines()) <= set(run.stderr.splitlines())
    for one in chain.from_iterable(bad.values()):
        (key,) = one["id"] if isinstance(one["id"], list) else [one["id"]]
        assert str(key) in report
    assert "asst_1: has no 'model'" in report
    assert "msg_2: its object 'thread_missing' is missing" in report
    assert "threads line 3: is no JSON" in report
    assert "threads line 4: is no JSON object" in report
    assert "its content is not there" in report
    assert "2 threads" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "nowhere"), "nowhere holds no export"),
        (("export", "ftp://x", "out"), "not an http or https URL"),
        (("export", "http://me:secret@127.0.0.1:9/v1?api-version=secret", "out"), "127.0.0.1:9/v1 cannot be"),
        (("export", "http://nowhere.invalid/v1", "out"), "http://nowhere.invalid/v1 cannot be reached: "),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    run = command(tmp_path, *arguments)
    assert run.returncode == 1
    assert said in run.stderr.splitlines()[-1]
    assert "secret" not in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"])
async def test_a_server_that_cannot_be_reached_is_not_tried_again(url: str) -> None:
    client = SourceClient(url, {}, 1)
    async with asyncio.timeout(5):  # six attempts take 8 s at least
        with pytest.raises(SourceError, match="cannot be reached"):
            await client.get("/assistants")
        await client.close()


def test_in_astra_mode_the_objects_become_those_of_a_token(
    folder: Path, provider: ProviderProcess, tmp_path: Path
) -> None:
    token = "AstraCS:test"
    refused = command(tmp_path, "import", str(folder), ASTROLABE_AUTH="astra", OPENAI_API_KEY="sk-x")
    assert refused.returncode == 2
    assert "--token" in refused.stderr
    variables = {"ASTROLABE_AUTH": "astra", "OPENAI_API_KEY": "sk-x", "ASTRA_DB_APPLICATION_TOKEN": token}
    done(command(tmp_path, "import", str(folder), **variables))
    store = f"sqlite:///{tmp_path}/data/astrolabe.db"
    with serving(tmp_path, provider, ASTROLABE_AUTH="astra", ASTROLABE_STORE=store) as server:
        for sent, number in ((token, 1), ("AstraCS:other", 0)):
            headers = {"astra-api-token": sent, "openai-beta": "assistants=v2"}
            answer = httpx.get(f"{server.url}/assistants", headers=headers, timeout=30)
            assert len(answer.raise_for_status().json()["data"]) == number
