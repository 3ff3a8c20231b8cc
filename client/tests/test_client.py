"""The clients: settings from the environment, and what OpenAI's SDK lacks."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from conftest import script

from astrolabe_client import AssistantManager, Astrolabe, AsyncAstrolabe, provider_headers


class Recorder(http.server.BaseHTTPRequestHandler):
    """A server that keeps the headers of each request, and redirects those for /v1/moved elsewhere."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.elsewhere:
            self.send_response(307)
            self.send_header("location", self.server.elsewhere)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        body = json.dumps({"data": [{"embedding": [0.5], "index": 0}], "object": "list", "id": "x"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def recorder(elsewhere: str = "") -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.seen, server.elsewhere = [], elsewhere
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def recorded() -> Iterator[http.server.ThreadingHTTPServer]:
    with recorder() as server:
        yield server
        server.shutdown()


def url(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


@pytest.mark.parametrize(
    ("model", "headers"),
    [
        ("gpt-4o", {}),
        ("openai/gpt-4o", {}),
        ("claude-3-haiku-20240307", {"LLM-PARAM-api-key": "ant"}),
        ("anthropic/claude-3-haiku-20240307", {"LLM-PARAM-api-key": "ant"}),
        ("cohere_chat/command-r", {"LLM-PARAM-api-key": "co"}),
        ("groq/llama3-8b-8192", {"LLM-PARAM-api-key": "gr"}),
        ("mistral/mistral-small", {}),
        ("ollama/llama3", {"LLM-PARAM-base-url": "http://127.0.0.1:11434"}),
        ("bedrock/amazon.titan", {"LLM-PARAM-aws-access-key-id": "id", "LLM-PARAM-aws-region-name": "eu"}),
    ],
)
def test_a_models_provider_chooses_the_variables(
    monkeypatch: pytest.MonkeyPatch, model: str, headers: dict
) -> None:
    for name, value in {
        "ANTHROPIC_API_KEY": "ant",
        "COHERE_API_KEY": "co",
        "GROQ_API_KEY": "gr",
        "OLLAMA_API_BASE": "http://127.0.0.1:11434",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_REGION_NAME": "eu",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert provider_headers(model) == headers


def test_requests_carry_the_token_and_the_keys_of_their_models_provider(
    recorded: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "ant")
    monkeypatch.setenv("COHERE_API_KEY", "co")
    with Astrolabe(base_url=url(recorded), api_key="sk", astra_db_id="db-1", max_retries=0) as client:
        client.chat.completions.create(model="anthropic/claude", messages=[])
        client.embeddings.create(model="cohere/embed-english-v3.0", input="a")
        client.for_model("anthropic/claude").beta.threads.create()
        client.upload(("a.txt", b"a"), embedding_model="cohere/embed-english-v3.0")
    chat, embedding, thread, upload = recorded.seen
    assert chat["llm-param-api-key"] == thread["llm-param-api-key"] == "ant"
    assert embedding["embedding-param-api-key"] == upload["embedding-param-api-key"] == "co"
    assert "llm-param-api-key" not in embedding
    assert upload["embedding-model"] == "cohere/embed-english-v3.0"
    assert {one["astra-api-token"] for one in recorded.seen} == {"AstraCS:of:the-application"}
    assert {one["astra-db-id"] for one in recorded.seen} == {"db-1"}


def test_without_a_key_none_is_sent(
    recorded: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ASTROLABE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "ant")
    with Astrolabe(base_url=url(recorded), max_retries=0) as client:
        client.embeddings.create(model="m", input="a")
        client.for_model("anthropic/claude").beta.threads.create()
    assert not [one for one in recorded.seen if "authorization" in one]
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    with Astrolabe(base_url=url(recorded), max_retries=0) as client:
        client.embeddings.create(model="m", input="a")
    assert recorded.seen[-1]["authorization"] == "Bearer sk"


def test_a_redirect_to_another_host_carries_no_secret(
    recorded: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "ant")
    with recorder(url(recorded) + "/chat/completions") as first:
        with Astrolabe(base_url=url(first), api_key="sk", max_retries=0) as client:
            claude = client.for_model("anthropic/claude")
            claude.chat.completions.create(model="anthropic/claude", messages=[])
        first.shutdown()
    assert first.seen[0]["llm-param-api-key"] == "ant"
    (followed,) = recorded.seen
    assert not [name for name in followed if name.startswith(("llm-param-", "astra-", "authorization"))]


def test_threads_are_listed_page_by_page(client: Astrolabe) -> None:
    made = [client.beta.threads.create().id for _ in range(3)]
    page = client.list_threads(limit=2)
    assert [one.id for one in page.data] == made[:0:-1]
    found = iter(page)
    assert [next(found).id for _ in range(3)] == made[::-1]


async def test_threads_are_listed_page_by_page_by_an_async_client(async_client: AsyncAstrolabe) -> None:
    made = [(await async_client.beta.threads.create()).id for _ in range(3)]
    page = await async_client.list_threads(limit=2)
    found = [one.id async for one in page]
    assert found[:3] == made[::-1]


def test_a_messages_content_and_metadata_are_changed(client: Astrolabe) -> None:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "puppies"}])
    (message,) = client.beta.threads.messages.list(thread.id).data
    changed = client.update_message(message.id, thread_id=thread.id, content="kittens", metadata={"a": "b"})
    assert changed.content[0].text.value == "kittens"
    assert changed.metadata == {"a": "b"}


def test_an_upload_names_its_embedding_model(client: Astrolabe) -> None:
    file = client.upload(("a.txt", b"Penguins."), embedding_model="openai/text-embedding-3-small")
    assert client.files.retrieve(file.id).embedding_model == "openai/text-embedding-3-small"


def test_the_events_of_a_run_are_read_again(client: Astrolabe) -> None:
    assistant = AssistantManager(client, model="any-model")
    run = assistant.run(script({"text": "Hello there."})).run
    events = list(client.run_events(run.id, thread_id=run.thread_id))
    assert events[0].event == "thread.run.created"
    assert [one.event for one in events if one.event == "thread.run.completed"]
    later = list(client.run_events(run.id, thread_id=run.thread_id, starting_after=2))
    assert [one.event for one in later] == [one.event for one in events][3:]


def test_a_copy_of_a_client_keeps_its_settings(client: Astrolabe) -> None:
    copy = client.with_options(timeout=5)
    assert isinstance(copy, Astrolabe)
    assert copy.base_url == client.base_url
    assert AssistantManager(copy, model="any-model").run("Hello").text
