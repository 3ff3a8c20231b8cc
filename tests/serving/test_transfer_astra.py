"""Import of a keyspace as an Astra Assistants server writes it: nested objects as JSON, times of three forms."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cassandra.cluster import Cluster, Session

from tests.provider import ProviderProcess
from tests.server import Server, command
from tests.serving.test_transfer import done, serving, wait_ingested

pytestmark = pytest.mark.server

AT = 1_744_000_000
"""When everything was made, in seconds."""

DIMENSIONS = 64
MODEL = "openai/text-embedding-3-small"
COLUMN = "embedding_openai_text_embedding_3_small"
TABLES = f"""
CREATE TABLE assistants_v2 (id text PRIMARY KEY, object text, created_at bigint, name text, description text,
  model text, instructions text, tools list<text>, metadata map<text, text>, tool_resources text, top_p float,
  temperature float, response_format text);
CREATE TABLE files (id text PRIMARY KEY, object text, purpose text, created_at timestamp, filename text,
  format text, bytes int, status text, embedding_model text);
CREATE TABLE file_chunks (file_id text, chunk_id text, content text, created_at timestamp,
  {COLUMN} vector<float, {DIMENSIONS}>, PRIMARY KEY ((file_id), chunk_id));
CREATE TABLE threads (id text PRIMARY KEY, object text, created_at timestamp, metadata map<text, text>,
  tool_resources map<text, text>);
CREATE TABLE messages_v2 (id text, object text, created_at bigint, thread_id text, status text,
  incomplete_details text, completed_at bigint, incomplete_at bigint, role text, content list<text>,
  assistant_id text, run_id text, attachments list<text>, metadata map<text, text>,
  PRIMARY KEY ((thread_id), created_at, id));
CREATE TABLE runs_v2 (id text, object text, created_at bigint, assistant_id text, thread_id text, status text,
  required_action text, started_at bigint, expires_at bigint, cancelled_at bigint, failed_at bigint,
  completed_at bigint, last_error text, model text, instructions text, tools list<text>,
  metadata map<text, text>, incomplete_details text, usage text, temperature float, top_p float,
  max_prompt_tokens int, max_completion_tokens int, truncation_strategy text, response_format text,
  tool_choice text, PRIMARY KEY ((thread_id), id));
CREATE TABLE run_steps (id text, assistant_id text, cancelled_at timestamp, completed_at timestamp,
  created_at timestamp, expired_at timestamp, failed_at timestamp, last_error text, metadata map<text, text>,
  object text, run_id text, status text, step_details text, thread_id text, type text, usage text,
  PRIMARY KEY ((run_id), id));
CREATE TABLE vector_stores (id text PRIMARY KEY, object text, created_at bigint, usage_bytes bigint,
  last_active_at bigint, name text, status text, file_counts text, metadata map<text, text>,
  expires_at bigint, expires_after text);
CREATE TABLE vector_store_files (vector_store_id text, id text, object text, usage_bytes int,
  created_at bigint, status text, last_error text, PRIMARY KEY ((vector_store_id), created_at, id));
"""

CHUNKS = ["Winter storms break the harbour's wall.", *(f"Filler {n}." for n in range(1, 12))]


@pytest.fixture
def keyspace(cassandra_url: str) -> Iterator[tuple[str, Session]]:
    parts = urlsplit(cassandra_url)
    name = f"t_{secrets.token_hex(6)}"
    with Cluster([parts.hostname], port=parts.port) as cluster:
        session = cluster.connect()
        session.execute(
            f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        session.set_keyspace(name)
        for statement in TABLES.strip().split(";")[:-1]:
            session.execute(statement, timeout=60)
        yield f"cassandra://{parts.netloc}/{name}?dc=datacenter1", session
        session.execute(f"DROP KEYSPACE {name}", timeout=120)


def insert(session: Session, table: str, **columns: object) -> None:
    marks = ", ".join("?" for _ in columns)
    statement = session.prepare(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})")
    session.execute(statement, tuple(columns.values()))


def fill(session: Session, embed: list[list[float]]) -> None:
    search = {"type": "file_search", "file_search": None}
    insert(
        session, "files", id="file_1", object="file", purpose="assistants", created_at=AT, filename="storms.pdf",
        format="application/pdf", bytes=4711, status="processed", embedding_model=MODEL,
    )  # fmt: skip
    for index, (text, vector) in enumerate(zip(CHUNKS, embed, strict=True)):
        insert(
            session, "file_chunks", file_id="file_1", chunk_id=f"chunk_file_1_{index}", content=text,
            created_at=AT * 1000, **{COLUMN: vector},
        )  # fmt: skip
    insert(
        session, "vector_stores", id="vs_1", object="vector_store", created_at=AT * 1000, usage_bytes=0, name="W",
        status="completed", file_counts=json.dumps({"completed": 1, "total": 1}), metadata={"a": "b"},
    )  # fmt: skip
    insert(
        session, "vector_store_files", vector_store_id="vs_1", id="file_1", object="vector_store.file",
        usage_bytes=-1, created_at=AT * 1000, status="completed",
    )  # fmt: skip
    insert(
        session, "assistants_v2", id="asst_1", object="assistant", created_at=AT * 1000, name="Ada", model="m",
        tools=[json.dumps(search)], metadata={"k": "{v}"}, temperature=0.7, response_format="auto",
        tool_resources=json.dumps({"file_search": {"vector_store_ids": ["vs_1"]}, "code_interpreter": None}),
    )  # fmt: skip
    insert(
        session, "threads", id="thread_1", object="thread", created_at=AT * 1000,
        tool_resources={"file_search": json.dumps({"vector_store_ids": ["vs_1"]})},
    )  # fmt: skip
    for number, (role, text) in enumerate((("user", "When?"), ("assistant", "In winter."))):
        content = {"type": "text", "text": {"value": text, "annotations": []}}
        insert(
            session, "messages_v2", id=f"msg_{number}", object="thread.message", created_at=AT * 1000 + number,
            thread_id="thread_1", role=role, content=[json.dumps(content)],
            run_id="run_1" if role == "assistant" else None,
            status="completed" if role == "assistant" else None,
        )  # fmt: skip
    insert(
        session, "runs_v2", id="run_1", object="thread.run", created_at=AT * 1000, assistant_id="asst_1",
        thread_id="thread_1", status="completed", completed_at=AT * 1000 + 5000, model="m", tools=[json.dumps(search)],
        truncation_strategy=json.dumps({"type": "auto", "last_messages": None}), tool_choice="auto",
        response_format=json.dumps({"type": "json_object"}),
    )  # fmt: skip
    insert(
        session, "runs_v2", id="run_2", object="thread.run", created_at=AT * 1000 + 9000, assistant_id="asst_1",
        thread_id="thread_1", status="generating", model="m",
    )  # fmt: skip
    found = {"file_id": "file_1", "chunk_id": "chunk_file_1_0", "content": CHUNKS[0], "score": 0.8}
    call = {"id": "step_1", "type": "file_search", "file_search": {"chunks": [found]}}
    insert(
        session, "run_steps", id="step_1", object="thread.run.step", created_at=AT * 1000, completed_at=AT + 5,
        assistant_id="asst_1", thread_id="thread_1", run_id="run_1", status="completed", type="tool_calls",
        step_details=json.dumps({"type": "tool_calls", "tool_calls": [call]}),
    )  # fmt: skip


def vectors(provider: ProviderProcess) -> list[list[float]]:
    request = {"model": MODEL, "input": CHUNKS, "dimensions": DIMENSIONS}
    answer = httpx.post(f"{provider.url}/embeddings", json=request, headers={"authorization": "Bearer x"})
    return [one["embedding"] for one in answer.raise_for_status().json()["data"]]


def test_a_keyspace_is_imported_with_ids_times_and_embeddings(
    keyspace: tuple[str, Session], provider: ProviderProcess, tmp_path: Path
) -> None:
    url, session = keyspace
    fill(session, vectors(provider))
    out = done(command(tmp_path, "import", "astra", url, OPENAI_API_KEY="sk-x"))
    assert out.startswith("imported: 1 files, 1 vector_store_files, 1 vector_stores, 1 assistants, 1 threads")
    assert done(command(tmp_path, "import", "astra", url)).startswith("imported: nothing\nthere already: ")

    with serving(tmp_path, provider, ASTROLABE_STORE=f"sqlite:///{tmp_path}/data/astrolabe.db") as server:
        check(server)
        wait_ingested(server)


def check(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers={"openai-beta": "assistants=v2"}, timeout=30) as http:

        def get(path: str) -> dict:  # type: ignore[type-arg]
            found: dict = http.get(path).raise_for_status().json()  # type: ignore[type-arg]
            return found

        file = get("/files/file_1")
        text = http.get("/files/file_1/content").text
        assert (file["created_at"], file["filename"], file["bytes"]) == (
            AT,
            "storms.pdf.txt",
            len(text.encode()),
        )
        assert text.splitlines() == CHUNKS
        assistant = get("/assistants/asst_1")
        assert (assistant["created_at"], assistant["temperature"], assistant["name"]) == (AT, 0.7, "Ada")
        assert assistant["tool_resources"] == {"file_search": {"vector_store_ids": ["vs_1"]}}
        assert assistant["metadata"] == {"k": "{v}"}
        messages = get("/threads/thread_1/messages?order=asc")["data"]
        assert [one["content"][0]["text"]["value"] for one in messages] == ["When?", "In winter."]
        assert get("/threads/thread_1/messages?run_id=run_1")["data"] == messages[1:]
        run, unfinished = get("/threads/thread_1/runs?order=asc")["data"]
        assert (run["status"], run["created_at"], run["completed_at"]) == ("completed", AT, AT + 5)
        assert run["response_format"] == {"type": "json_object"}
        assert (unfinished["id"], unfinished["status"]) == ("run_2", "expired")
        [step] = get("/threads/thread_1/runs/run_1/steps")["data"]
        assert (step["created_at"], step["completed_at"]) == (AT, AT + 5)
        [result] = step["step_details"]["tool_calls"][0]["file_search"]["results"]
        assert (result["file_id"], result["score"]) == ("file_1", 0.8)
        store = get("/vector_stores/vs_1")
        assert store["file_counts"]["completed"] == store["file_counts"]["total"] == 1
        assert store["last_active_at"] >= AT
        question = {"query": "winter storms"}
        hits = http.post("/vector_stores/vs_1/search", json=question).raise_for_status().json()["data"]
        assert hits[0]["content"][0]["text"] == CHUNKS[0]


def test_broken_rows_are_named_and_the_rest_is_imported(
    keyspace: tuple[str, Session], provider: ProviderProcess, tmp_path: Path
) -> None:
    url, session = keyspace
    fill(session, vectors(provider))
    insert(session, "assistants_v2", id="asst_2", created_at=AT * 1000, model="m", tools=["{torn"])
    insert(session, "assistants_v2", id="asst_3", created_at=AT * 1000)
    insert(session, "messages_v2", id="msg_9", thread_id="thread_gone", created_at=AT, role="user")
    insert(session, "run_steps", id="step_9", run_id="run_1", created_at=AT)
    torn = {"type": "tool_calls", "tool_calls": [{"type": "file_search", "file_search": {"chunks": [{}]}}]}
    insert(session, "run_steps", id="step_8", run_id="run_1", created_at=AT, step_details=json.dumps(torn))
    insert(session, "threads", id="thread_9", created_at=10**16)
    insert(session, "vector_store_files", vector_store_id="vs_1", id="file_gone", created_at=AT)

    run = command(tmp_path, "import", "astra", url, OPENAI_API_KEY="sk-x")

    assert run.returncode == 1
    assert "1 assistants, 1 threads, 2 messages, 2 runs, 1 run_steps" in run.stdout
    report = (tmp_path / "astrolabe-import.report").read_text()
    for key in ("asst_2", "asst_3", "msg_9", "step_9", "step_8", "thread_9", "vs_1/file_gone"):
        assert key in report
    assert len(report.splitlines()) == 7


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("cassandra://{address}/nothing_here?dc=datacenter1&wait=1", "nothing_here"),
        ("cassandra://{address}/system?dc=datacenter1", "none of the tables assistants_v2"),
        ("astra://id/assistant_api", "needs token"),
    ],
)
def test_a_keyspace_that_cannot_be_read_is_named(
    cassandra_url: str, tmp_path: Path, url: str, said: str
) -> None:
    address = urlsplit(cassandra_url).netloc
    run = command(tmp_path, "import", "astra", url.format(address=address))
    assert run.returncode == 1
    assert said in run.stderr.splitlines()[-1]
    assert "ASTROLABE_STORE" not in run.stderr
