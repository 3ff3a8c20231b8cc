"""Errors at start-up are one line that names the variable, the value and what to set."""

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serving.errors import SettingsRefused
from serving.settings import Settings
from serving.shown_urls import without_secrets
from spec import edition
from tests.server import Server, base_environment, command

pytestmark = pytest.mark.server


def refusal(folder: Path, **environment: str) -> str:
    """Standard error of a server that does not start."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "serving.cli", "serve"],
        env={**base_environment(), "PORT": "0", "ASTROLABE_STORE": f"sqlite:///{folder}/a.db", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode != 0
    return run.stderr.strip()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "99999"),
        ("WEB_CONCURRENCY", "0"),
        ("ASTROLABE_AUTH", "none"),
        ("ASTROLABE_MAX_BODY", "-1"),
        ("ASTROLABE_STORE", "postgres://x/y"),
        ("ASTROLABE_STORE", "sqlite:///"),
        ("ASTROLABE_SPEC", "2019-01-01"),
        ("ASTROLABE_SPEC", "missing/openapi.yaml"),
        ("ASTROLABE_MODELS", "missing/models.yaml"),
        ("ASTROLABE_MCP_HOSTS", "http://tools.internal"),
        ("ASTROLABE_MCP_SERVERS", "missing/mcp.yaml"),
        ("ASTROLABE_SANDBOX", "dokcer"),
        ("ASTROLABE_SANDBOX_PYTHON", "missing/python"),
        ("ASTROLABE_SANDBOX_MEMORY", "1000"),
        ("ASTROLABE_SANDBOX_IMAGE", "an-image-without-a-runtime"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(tmp_path: Path, variable: str, value: str) -> None:
    said = refusal(tmp_path, **{variable: value})
    assert said.count("\n") == 0, said
    assert said.startswith(f"astrolabe: {variable}")
    assert value in said


@pytest.mark.parametrize(
    ("name", "meant"), [("MODLES", "MODELS"), ("AUHT", "AUTH"), ("STORES", "STORE"), ("MAXFILE", "MAX_FILE")]
)
def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(f"ASTROLABE_{name}", "x")
    with pytest.raises(SettingsRefused, match=f"ASTROLABE_{name}: .*Did you mean ASTROLABE_{meant}"):
        Settings.read()


@pytest.mark.parametrize(
    "name", ["SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP_ADDR", "SEARCH_PORT"]
)
def test_variables_that_kubernetes_sets_are_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"ASTROLABE_{name}", "10.0.0.1")
    assert Settings.read().port == 8080


def test_an_oci_runtime_needs_an_image() -> None:
    with pytest.raises(SettingsRefused, match=r"ASTROLABE_SANDBOX=env --any: set ASTROLABE_SANDBOX_IMAGE"):
        Settings.read(ASTROLABE_SANDBOX="env --any")
    assert Settings.read(ASTROLABE_SANDBOX="env --any", ASTROLABE_SANDBOX_IMAGE="i").sandbox_image == "i"


def test_the_start_says_why_code_cannot_be_run(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, ASTROLABE_SANDBOX="none") as server:
        assert '"code":"off: ASTROLABE_SANDBOX is none"' in server.log.read_text()


def test_open_mode_listens_on_the_network_only_if_allowed() -> None:
    with pytest.raises(SettingsRefused, match=r"HOST=0\.0\.0\.0: ASTROLABE_AUTH=open"):
        Settings.read(HOST="0.0.0.0")
    assert Settings.read(HOST="0.0.0.0", ASTROLABE_AUTH="keys").host == "0.0.0.0"
    assert Settings.read(HOST="0.0.0.0", ASTROLABE_ALLOW_OPEN="true").allow_open


def test_a_label_has_one_meaning(tmp_path: Path) -> None:
    tool = "{description: d, url: 'http://127.0.0.1/'}"
    (tmp_path / "tools.yaml").write_text(f"toolsets: {{office: {{tools: {{find: {tool}}}}}}}")
    (tmp_path / "mcp.yaml").write_text("servers: {office: {url: 'http://127.0.0.1/'}}")
    files = {"ASTROLABE_TOOLS": "tools.yaml", "ASTROLABE_MCP_SERVERS": "mcp.yaml"}
    said = refusal(tmp_path, OPENAI_API_KEY="sk-x", **files)
    assert (
        said
        == "astrolabe: ASTROLABE_TOOLS: tools.yaml: the label 'office' is that of an MCP server; choose another"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"SERVICE": "brave"}, "ASTROLABE_SEARCH_SERVICE=brave: needs ASTROLABE_SEARCH_KEY"),
        ({"SERVICE": "searxng"}, "ASTROLABE_SEARCH_SERVICE=searxng: needs ASTROLABE_SEARCH_URL"),
        (
            {"SERVICE": "google"},
            "ASTROLABE_SEARCH_SERVICE='google': should be 'searxng', 'brave' or 'tavily'",
        ),
        (
            {"KEY": "k"},
            "ASTROLABE_SEARCH_KEY is set, but not ASTROLABE_SEARCH_SERVICE: set it to searxng, brave or tavily",
        ),
        (
            {"SERVICE": "searxng", "URL": "http://u:p@host/"},
            r"ASTROLABE_SEARCH_URL=http://u:\*\*\*@host/: should be a URL of http",
        ),
    ],
)
def test_a_search_service_that_cannot_be_asked_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsRefused, match=said):
        Settings.read(**{f"ASTROLABE_SEARCH_{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "cassandra://me:se:cret@h1,h2:9/ks?dc=a&password=secret&rf=3",
            "cassandra://me:***@h1,h2:9/ks?dc=a&password=***&rf=3",
        ),
        ("astra://id?bundle=b.zip&token=secret", "astra://id?bundle=b.zip&token=***"),
        ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
        ("https://sk-secret@p.example/v1?api-key=secret&v=1", "https://***@p.example/v1?api-key=***&v=1"),
        (
            "https://u:s@p.example/v1?subscription-key=s#x",
            "https://u:***@p.example/v1?subscription-key=***#x",
        ),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_secrets_are_not_shown() -> None:
    assert "sk-secret" not in repr(Settings.read(OPENAI_API_KEY="sk-secret"))


@pytest.mark.parametrize("name", edition.shipped())
def test_every_shipped_edition_starts_and_serves(tmp_path: Path, name: str) -> None:
    with Server(tmp_path, workers=1, ASTROLABE_SPEC=name, OPENAI_API_KEY="sk-x") as server:
        assert f'"edition":"{name}: ' in server.log.read_text()


def test_any_openapi_file_can_be_the_edition(tmp_path: Path) -> None:
    spec = tmp_path / "openapi.yaml"
    spec.write_text(
        "openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths:\n  /models:\n    get:\n      operationId: listModels\n"
        "      responses: {'200': {description: ok}}\n"
    )
    with Server(tmp_path, workers=1, ASTROLABE_SPEC=str(spec), OPENAI_API_KEY="sk-x") as server:
        assert "openapi: 1 of 1 operations" in server.log.read_text()


def test_a_taken_port_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refusal(tmp_path, PORT=str(port))
    assert said.startswith(
        f"astrolabe: HOST=127.0.0.1 PORT={port}: cannot listen there: Address already in use"
    )
    assert "\n" not in said


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_reported_in_one_line(tmp_path: Path, host: str) -> None:
    said = refusal(tmp_path, HOST=host, ASTROLABE_AUTH="keys")
    assert said.startswith(f"astrolabe: HOST={host} ")
    assert "\n" not in said


def test_an_ipv6_address_is_written_in_brackets() -> None:
    for host in ("::1", "[::1]"):
        assert Settings.read(HOST=host, PORT=8081).address == "[::1]:8081"
    assert Settings.read().address == "127.0.0.1:8080"


@pytest.mark.parametrize("arguments", [("keys", "create", "--project", "p"), ("keys", "list"), ("migrate",)])
def test_a_command_names_a_wrong_variable_too(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run = command(tmp_path, *arguments, PORT="abc")
    assert (run.returncode, run.stderr.count("\n")) == (1, 1), run.stderr
    assert run.stderr.startswith("astrolabe: PORT='abc'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("move", "sqlite:///none.db", "sqlite:///b.db"), "none.db does not exist"),
        (("move", "sqlite:///a.db", "sqlite:///b.db", "--checkpoint", "/proc/x"), "/proc/x"),
        (("spec", "distil", "upstream.yaml", "/proc/x.yaml"), "/proc/x.yaml"),
    ],
)
def test_a_command_that_cannot_be_done_says_so_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert command(tmp_path, "migrate", ASTROLABE_STORE="sqlite:///a.db").returncode == 0
    (tmp_path / "upstream.yaml").write_text("openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths: {}\n")
    run = command(tmp_path, *arguments)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1), run.stderr
    assert run.stderr.startswith("astrolabe: ")
    assert said in run.stderr
    assert not (tmp_path / "none.db").exists()


def test_the_settings_command_shows_no_secret(tmp_path: Path) -> None:
    secrets = {
        "ASTROLABE_STORE": "cassandra://me:the-secret@h/ks?dc=a",
        "OPENAI_BASE_URL": "https://me:the-secret@p.example/v1?api-key=the-secret",
        "OPENAI_API_KEY": "the-secret",
    }
    run = command(tmp_path, "settings", **secrets)
    assert "OPENAI_BASE_URL=https://me:***@p.example/v1?api-key=***\n" in run.stdout
    assert "the-secret" not in run.stdout + run.stderr


def test_the_settings_command_shows_what_the_environment_would_have(tmp_path: Path) -> None:
    values = {
        "ASTROLABE_ALLOW_OPEN": "true",
        "ASTROLABE_CORS_ORIGINS": "https://a.example,https://b.example",
        "ASTROLABE_CACHE": str(tmp_path),
    }
    run = command(tmp_path, "settings", **values)
    lines = run.stdout.splitlines()
    assert {f"{name}={value}" for name, value in values.items()} <= {*lines}
    assert {"ASTROLABE_MODELS=", "ASTROLABE_AUTH=open", "ASTROLABE_CALLER_KEYS=false"} <= {*lines}
    variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert command(tmp_path, "settings", **variables).stdout == run.stdout


def test_files_of_a_new_store_are_their_owners_alone(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, OPENAI_API_KEY="sk-x") as server:
        httpx.post(f"{server.url}/files", data={"purpose": "assistants"}, files={"file": b"x"}, timeout=30)
        modes = {
            path.name: path.stat().st_mode & 0o077
            for path in tmp_path.rglob("astrolabe.db*")
            if path.is_file()
        }
        assert {"astrolabe.db", "astrolabe.db-wal", "astrolabe.db-shm"} <= modes.keys()
        contents = (tmp_path / "astrolabe.db-contents").rglob("*")
        modes |= {path.name: path.stat().st_mode & 0o077 for path in contents if path.is_file()}
    assert set(modes.values()) == {0}


def test_commands_import_no_provider_and_no_engine(tmp_path: Path) -> None:
    loaded = (
        "import serving.cli, sys; print(*(name for name in sys.modules if name.startswith('inference.')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", loaded], env=base_environment(), capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["inference.errors", "inference.limits"]


def test_a_store_is_not_moved_into_itself(tmp_path: Path) -> None:
    run = command(tmp_path, "move", "sqlite:///a.db", "sqlite:///a.db")
    assert run.returncode == 2
    assert "the same store" in run.stderr
