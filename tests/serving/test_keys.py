"""ASTROLABE_AUTH=keys against a live server; keys are made by the command line, as an operator does."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.provider import ProviderProcess
from tests.server import Server, base_environment, until

pytestmark = pytest.mark.server
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("keyed")
    models = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url}
    with Server(folder, ASTROLABE_AUTH="keys", ASTROLABE_KEEP_ALIVE="1", **models) as server:
        yield server


@pytest.fixture(scope="module")
def astrolabe(keyed: Server) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving.cli", *arguments]
        environment = keyed.environment
        return subprocess.run(
            command, env=environment, cwd=keyed.folder, capture_output=True, text=True, check=False
        )

    return run


def ask(server: Server, key: str | None, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.request(method, f"{server.url}/{path}", headers=headers, json=body, timeout=30)


def test_a_missing_or_wrong_key_gets_401(keyed: Server) -> None:
    for key in (None, "sk-wrong-but-long-enough-to-mask"):
        answer = ask(keyed, key, "GET", "assistants")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "wrong-but-long" not in answer.text
    assert ask(keyed, None, "GET", "health").json() == {"status": "alive"}


def test_each_project_sees_its_own_objects_only(keyed: Server, astrolabe: Command) -> None:
    ours, theirs = (
        astrolabe("keys", "create", "--project", name).stdout.strip() for name in ("ours", "theirs")
    )
    made = ask(keyed, ours, "POST", "assistants", {"model": "m"}).json()
    assert ask(keyed, ours, "GET", f"assistants/{made['id']}").status_code == 200
    assert ask(keyed, theirs, "GET", f"assistants/{made['id']}").status_code == 404
    assert ask(keyed, theirs, "DELETE", f"assistants/{made['id']}").status_code == 404
    assert ask(keyed, theirs, "GET", "assistants").json()["data"] == []


def test_another_projects_assistant_cannot_be_run(keyed: Server, astrolabe: Command) -> None:
    ours, theirs = (
        astrolabe("keys", "create", "--project", name).stdout.strip() for name in ("ours", "theirs")
    )
    assistant = ask(keyed, ours, "POST", "assistants", {"model": "m"}).json()["id"]
    thread = ask(keyed, theirs, "POST", "threads", {}).json()["id"]
    run = ask(keyed, theirs, "POST", f"threads/{thread}/runs", {"assistant_id": assistant})
    assert run.status_code == 404
    assert ask(keyed, ours, "GET", f"threads/{thread}").status_code == 404


def test_a_revoked_key_opens_nothing_any_more(keyed: Server, astrolabe: Command) -> None:
    key = astrolabe("keys", "create", "--project", "brief", "--name", "laptop").stdout.strip()
    assert ask(keyed, key, "GET", "assistants").status_code == 200
    line = next(line for line in astrolabe("keys", "list").stdout.splitlines() if "laptop" in line)
    assert key not in line
    assert astrolabe("keys", "revoke", line.split()[0]).returncode == 0
    until(lambda: ask(keyed, key, "GET", "assistants").status_code == 401, seconds=15)
    assert "revoked" in next(
        line for line in astrolabe("keys", "list").stdout.splitlines() if "laptop" in line
    )


@pytest.mark.parametrize("turn", [{"text": "word " * 900, "delay": 0.1}, {"text": "late", "wait": 60}])
def test_an_open_stream_ends_when_its_key_is_revoked(keyed: Server, astrolabe: Command, turn: dict) -> None:
    key = astrolabe("keys", "create", "--project", "streams", "--name", "streaming").stdout.strip()
    content = "script: " + json.dumps({"turns": [turn]})
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": content}]}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream(
        "POST", f"{keyed.url}/chat/completions", json=body, headers=headers, timeout=20
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        listed = [line for line in astrolabe("keys", "list").stdout.splitlines() if "streaming" in line]
        astrolabe("keys", "revoke", listed[-1].split()[0])
        rest = [line for line in lines if line]
    assert rest[-2] == "event: error"
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "invalid_api_key"


def test_two_authorization_or_host_headers_are_refused(keyed: Server, astrolabe: Command) -> None:
    key = astrolabe("keys", "create", "--project", "twice").stdout.strip()
    lines = (f"Authorization: Bearer {key}", "Host: 127.0.0.1")
    for again in lines:
        head = "\r\n".join(("GET /v1/assistants HTTP/1.1", *lines, again, "Connection: close", "", ""))
        with socket.create_connection(("127.0.0.1", keyed.port), timeout=20) as client:
            client.sendall(head.encode())
            answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"repeated_header"' in answer


def test_any_host_may_be_named_where_keys_are_needed(keyed: Server, astrolabe: Command) -> None:
    key = astrolabe("keys", "create", "--project", "hosts").stdout.strip()
    headers = {"Authorization": f"Bearer {key}", "Host": "api.example.com", "Origin": "https://a.example"}
    assert httpx.get(f"{keyed.url}/assistants", headers=headers).status_code == 200


def test_commands_name_their_store_and_reading_makes_none(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving.cli", "keys", *arguments]
        return subprocess.run(
            command, env=base_environment(), cwd=tmp_path, capture_output=True, text=True, check=False
        )

    path = tmp_path / "data/astrolabe.db"
    for arguments in (["list"], ["revoke", "key_x"]):
        answer = run(*arguments)
        assert (answer.returncode, answer.stderr.count("\n")) == (1, 1), answer.stderr
        assert "astrolabe.db does not exist" in answer.stderr
        assert not path.exists()
    made = run("create", "--project", "p")
    assert made.stdout.startswith("sk-astrolabe-")
    assert made.stderr == (
        f"Created the store sqlite:///{path}.\nThis key opens project 'p' of the store sqlite:///{path}.\n"
    )
    assert "Created" not in run("create", "--project", "p").stderr
    listed = run("list")
    assert f"The store sqlite:///{path} has 2 keys." in listed.stderr
    assert run("revoke", listed.stdout.split()[0]).stdout.endswith(f"sqlite:///{path} is revoked.\n")


def test_an_empty_list_says_so(tmp_path: Path) -> None:
    for arguments in (["migrate"], ["keys", "list"]):
        command = [sys.executable, "-m", "serving.cli", *arguments]
        answer = subprocess.run(
            command, env=base_environment(), cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert answer.stdout == ""
    assert answer.stderr == f"The store sqlite:///{tmp_path}/data/astrolabe.db has no keys.\n"


def test_an_unknown_key_cannot_be_revoked(astrolabe: Command) -> None:
    answer = astrolabe("keys", "revoke", "key_nonsense")
    assert answer.returncode == 1
    assert answer.stderr.startswith("astrolabe: there is no key 'key_nonsense'")


@pytest.mark.parametrize("project", ["system", "a b", "", "../x", "x" * 65])
def test_a_project_has_a_plain_name(astrolabe: Command, project: str) -> None:
    assert astrolabe("keys", "create", "--project", project).returncode == 2


def test_a_key_is_not_in_the_database_or_the_log(keyed: Server, astrolabe: Command) -> None:
    key = astrolabe("keys", "create", "--project", "secret").stdout.strip()
    assert ask(keyed, key, "GET", "assistants").status_code == 200
    for path in keyed.folder.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def test_every_command_has_help(astrolabe: Command, tmp_path: Path) -> None:
    for arguments in ([], ["keys"], ["keys", "create"], ["serve"], ["spec", "distil"], ["migrate"]):
        answer = astrolabe(*arguments, "--help")
        assert answer.returncode == 0
        assert "Usage" in answer.stdout
