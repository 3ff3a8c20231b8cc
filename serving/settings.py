"""The settings: every environment variable that the server reads."""

import os
import re
import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from inference.limits import MAX_ANSWER, MAX_TAKEOVERS
from persistence.engines import is_for_tokens
from serving.errors import SettingsRefused
from serving.settings_checks import BUBBLEWRAP, NO_SANDBOX, check_together

PREFIX = "ASTROLABE_"
LIKENESS = 0.7
"""Share of two names' letters that agree, from which on one is taken for the other misspelt."""

KUBERNETES = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT)|PORT)(_|$)")
"""What Kubernetes sets for services named astrolabe or astrolabe-search."""

SECRETS = frozenset({"ASTROLABE_SEARCH_KEY", "ASTROLABE_SECRET", "OPENAI_API_KEY"})
"""Variables whose values no error shows."""

SHORTEST_SECRET = 16
"""Characters."""

MEGABYTE = 1024 * 1024


def variable(name: str, default: Any, help: str, **constraints: Any) -> Any:
    """Declare one environment variable with the sentence that README shows for it."""
    return Field(default, validation_alias=AliasChoices(name), description=help, **constraints)


class Settings(BaseSettings):
    """The operator's interface, frozen. A value that cannot be used stops start-up and says why."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = variable("HOST", "127.0.0.1", "Address to listen on.")
    port: int = variable("PORT", 8080, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    workers: int = variable("WEB_CONCURRENCY", 2, "Worker processes.", ge=1, le=256)
    spec: str = variable(
        "ASTROLABE_SPEC",
        "2026-08-21",
        "The edition to serve: a shipped one's name, or a path to any openapi.yaml.",
    )
    store: str = variable(
        "ASTROLABE_STORE",
        "sqlite:///./data/astrolabe.db",
        "`sqlite:///path`, `cassandra://host[:port],…/keyspace?dc=…&rf=…` or "
        "`astra://database-id/keyspace?token=AstraCS:…` (bundle fetched, keyspace made if missing). With "
        "`ASTROLABE_AUTH=astra`, `astra:///keyspace` without a token opens the database of each caller's.",
    )
    auth: Literal["open", "keys", "astra"] = variable(
        "ASTROLABE_AUTH",
        "open",
        "`open`: any key, one project. `keys`: keys made by `astrolabe keys create`. `astra`: a project for "
        "each token in the header `astra-api-token`.",
    )
    allow_open: bool = variable(
        "ASTROLABE_ALLOW_OPEN",
        False,
        "Lets `open` and `astra` listen on an address other machines can reach.",
    )
    models: Path | None = variable(
        "ASTROLABE_MODELS", None, "Path of models.yaml: which name goes to which model."
    )
    openai_api_key: SecretStr | None = variable(
        "OPENAI_API_KEY", None, "Without models.yaml: the key of the provider that every model name goes to."
    )
    openai_base_url: str | None = variable(
        "OPENAI_BASE_URL", None, "Without models.yaml: that provider's base URL, such as `https://…/v1`."
    )
    caller_keys: bool = variable(
        "ASTROLABE_CALLER_KEYS",
        False,
        "Lets requests bring their own provider key (`api-key`, `LLM-PARAM-*`, `EMBEDDING-PARAM-*`).",
    )
    provider_hosts: Annotated[tuple[str, ...], NoDecode] = variable(
        "ASTROLABE_PROVIDER_HOSTS",
        (),
        "Hosts, separated by commas, that a request's own base URL may name besides the providers' own "
        "(`name` or `name:port`).",
    )
    file_hosts: Annotated[tuple[str, ...], NoDecode] = variable(
        "ASTROLABE_FILE_HOSTS",
        (),
        "Hosts of your own network, separated by commas, that the URL of an input file (`file_url`) may name "
        "(`name` or `name:port`); public ones may be named anyway.",
    )
    search_service: Literal["searxng", "brave", "tavily"] | None = variable(
        "ASTROLABE_SEARCH_SERVICE",
        None,
        "What `web_search` searches with: `searxng`, `brave` or `tavily`; without one it is refused.",
    )
    search_url: str | None = variable(
        "ASTROLABE_SEARCH_URL",
        None,
        "Where the search service is; needed for `searxng`, such as `http://searxng:8080`.",
    )
    search_key: SecretStr | None = variable(
        "ASTROLABE_SEARCH_KEY", None, "Your key for the search service; needed for `brave` and `tavily`."
    )
    search_hosts: Annotated[tuple[str, ...], NoDecode] = variable(
        "ASTROLABE_SEARCH_HOSTS",
        (),
        "Hosts of your own network, separated by commas, whose pages `web_search` may open (`name` or "
        "`name:port`); public ones may be opened anyway.",
    )
    mcp_servers: Path | None = variable(
        "ASTROLABE_MCP_SERVERS",
        None,
        "Path of a YAML file: the MCP servers that requests name by label alone.",
    )
    mcp_hosts: Annotated[tuple[str, ...], NoDecode] = variable(
        "ASTROLABE_MCP_HOSTS",
        (),
        "Hosts of your own network, separated by commas, at which requests may name MCP servers (`name` or "
        "`name:port`); public ones may be named anyway.",
    )
    tools: Path | None = variable(
        "ASTROLABE_TOOLS",
        None,
        "Path of a YAML file: functions and HTTP endpoints of yours that models may call as tools.",
    )
    secret: SecretStr | None = variable(
        "ASTROLABE_SECRET",
        None,
        "At least 16 characters, the same for all replicas: encrypts reasoning and compacted contexts in "
        "items, and what callers send to providers and MCP servers while work in the background needs it. "
        "To change it, put the new one before the old one, separated by a comma or a line break.",
    )
    webhooks: Path | None = variable(
        "ASTROLABE_WEBHOOKS", None, "Path of a YAML file: which URLs get the events of which project."
    )
    prompts: Path | None = variable(
        "ASTROLABE_PROMPTS", None, "Folder of YAML files: the templates that responses name by `prompt`."
    )
    sandbox: str = variable(
        "ASTROLABE_SANDBOX",
        BUBBLEWRAP,
        "What isolates models' code (`code_interpreter`): `bubblewrap`, the command of an OCI runtime with "
        "Docker's command line (`docker`, `podman`, `docker --runtime=runsc`), or `none`.",
    )
    sandbox_image: str | None = variable(
        "ASTROLABE_SANDBOX_IMAGE", None, "The image whose `python3` an OCI runtime runs models' code with."
    )
    sandbox_python: Path | None = variable(
        "ASTROLABE_SANDBOX_PYTHON",
        None,
        "The Python that bubblewrap runs models' code with; else the one that `make sandbox` installs.",
    )
    sandbox_memory: int | None = variable(
        "ASTROLABE_SANDBOX_MEMORY",
        None,
        "Bytes of memory of the largest container that may be asked for; else half of the machine's.",
        ge=1024 * MEGABYTE,
    )
    sandboxes: int = variable(
        "ASTROLABE_SANDBOXES",
        50,
        "Sandboxes that the workers of this machine run at once; the one idle for longest makes room.",
        ge=1,
    )
    max_body: int = variable(
        "ASTROLABE_MAX_BODY", 32 * MEGABYTE, "Largest body in bytes, files apart; larger is 413.", ge=1024
    )
    max_file: int = variable(
        "ASTROLABE_MAX_FILE",
        512 * MEGABYTE,
        "Largest file of one request in bytes; larger is 413. A part of an upload has 64 MB at most; an "
        "upload is joined by the server and has 8 GB at most, whatever this is set to.",
        ge=1024,
    )
    max_held_bodies: int = variable(
        "ASTROLABE_MAX_HELD_BODIES",
        96 * MEGABYTE,
        "Bytes that request bodies may take in a worker's memory (one project: half of it); else 503.",
        ge=1024,
    )
    max_connections: int = variable(
        "ASTROLABE_MAX_CONNECTIONS",
        4096,
        "Connections that a worker keeps open; above it idle ones are closed, else new ones get 503.",
        ge=8,
    )
    head_timeout: float = variable(
        "ASTROLABE_HEAD_TIMEOUT", 10.0, "Seconds in which the head of a request must arrive; else 408.", gt=0
    )
    body_timeout: float = variable(
        "ASTROLABE_BODY_TIMEOUT",
        30.0,
        "Seconds in which 32 kB more of a body, or its end, must arrive; else 408.",
        gt=0,
    )
    whole_body_timeout: float = variable(
        "ASTROLABE_WHOLE_BODY_TIMEOUT",
        7200.0,
        "Seconds in which the whole body must arrive (512 MB at 0.6 Mbit/s do); else 408.",
        gt=0,
    )
    send_timeout: float = variable(
        "ASTROLABE_SEND_TIMEOUT",
        60.0,
        "Seconds in which a client must read some of its response; else it is disconnected.",
        gt=0,
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = variable(
        "ASTROLABE_ALLOWED_HOSTS",
        (),
        "Public DNS names, separated by commas, under which `open` may be called; `*` for every name.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = variable(
        "ASTROLABE_CORS_ORIGINS",
        (),
        "Origins, separated by commas, whose pages may call the API from a browser; `*` for every origin.",
    )
    download_assistants_files: bool = variable(
        "ASTROLABE_DOWNLOAD_ASSISTANTS_FILES",
        True,
        "Whether files of purpose `assistants` can be downloaded again; OpenAI's could not.",
    )
    strict_responses: bool = variable(
        "ASTROLABE_STRICT_RESPONSES",
        False,
        "Answers 500 where the server's own response does not fit the edition (else logs and counts it).",
    )
    keep_alive: float = variable(
        "ASTROLABE_KEEP_ALIVE",
        15.0,
        "Seconds of silence on an event stream after which a comment is sent, and between pings of a "
        "WebSocket.",
        gt=0,
    )
    grace: float = variable(
        "ASTROLABE_GRACE", 25.0, "Seconds that open requests and jobs have to end at a stop.", ge=0, le=3600
    )
    parser_memory: int = variable(
        "ASTROLABE_PARSER_MEMORY",
        4096 * MEGABYTE,
        "Bytes of memory for all files that are being parsed; above it the largest one fails.",
        ge=64 * MEGABYTE,
    )
    max_answer: int = variable(
        "ASTROLABE_MAX_ANSWER",
        MAX_ANSWER,
        "Bytes of one answer in a run as JSON, at most (each piece counts 16 more); a longer one is cut off.",
        ge=1,
        le=5 * MEGABYTE,
    )
    max_takeovers: int = variable(
        "ASTROLABE_MAX_TAKEOVERS",
        MAX_TAKEOVERS,
        "Times that a run or another job is taken over from a worker that died, before it fails.",
        ge=1,
    )
    batch_lines_per_project: int = variable(
        "ASTROLABE_BATCH_LINES_PER_PROJECT",
        32,
        "Lines of one project's batches that a worker sends to providers at the same time.",
        ge=1,
    )
    batch_lines_per_model: int = variable(
        "ASTROLABE_BATCH_LINES_PER_MODEL",
        64,
        "Lines of all batches that a worker sends to one model at the same time.",
        ge=1,
    )
    log_days: float = variable("ASTROLABE_LOG_DAYS", 1.0, "Days that a run's event log is kept.", gt=0)
    log_level: Literal["debug", "info", "warning", "error"] = variable(
        "ASTROLABE_LOG_LEVEL", "info", "Lowest level of log lines."
    )
    log_format: Literal["auto", "json", "text"] = variable(
        "ASTROLABE_LOG_FORMAT",
        "auto",
        "Form of log lines: `json`, `text`, or `auto` (`text` on a terminal, `json` elsewhere).",
    )
    cache: Path = variable(
        "ASTROLABE_CACHE",
        Path("./data/cache"),
        "Folder for files that can be made again: prepared editions, local models.",
    )

    @field_validator(
        "provider_hosts",
        "file_hosts",
        "mcp_hosts",
        "search_hosts",
        "allowed_hosts",
        "cors_origins",
        mode="before",
    )
    @classmethod
    def split_names(cls, value: object) -> object:
        """Split what comes as one string in the environment."""
        return (
            tuple(h.strip().lower() for h in value.split(",") if h.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("provider_hosts", "file_hosts", "mcp_hosts", "search_hosts")
    @classmethod
    def check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a URL in a list of hosts: no host would ever match it."""
        if any("/" in host for host in value):
            raise ValueError("names of hosts, name or name:port, without http:// and path")
        return value

    @field_validator("secret")
    @classmethod
    def check_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse a secret that is too short to be one."""
        if value is not None and min(map(len, _secrets(value)), default=0) < SHORTEST_SECRET:
            raise ValueError(f"at least {SHORTEST_SECRET} characters long, each one of several")
        return value

    @field_validator("sandbox")
    @classmethod
    def check_sandbox(cls, value: str) -> str:
        """Refuse the command of an OCI runtime that is not there; bubblewrap may be installed later."""
        if value not in (BUBBLEWRAP, NO_SANDBOX) and shutil.which((value.split() or [""])[0]) is None:
            raise ValueError(f"{BUBBLEWRAP}, {NO_SANDBOX}, or a command on PATH such as docker")
        return value

    @field_validator("sandbox_python")
    @classmethod
    def check_sandbox_python(cls, value: Path | None) -> Path | None:
        """Refuse a Python that is not there."""
        if value is not None and not value.is_file():
            raise ValueError("the path of a Python that has ipykernel, such as .venvs/sandbox/bin/python")
        return value

    @property
    def secrets(self) -> tuple[str, ...]:
        """The operator's secrets, the newest first."""
        return () if self.secret is None else _secrets(self.secret)

    @property
    def opens_store_per_token(self) -> bool:
        """Whether each caller's token opens a database of its own."""
        return self.auth == "astra" and is_for_tokens(self.store)

    @classmethod
    def read(cls, **overrides: object) -> "Settings":
        """Read the environment, or raise SettingsRefused naming every variable that is wrong."""
        try:
            settings = cls(**overrides)  # type: ignore[arg-type]
        except ValidationError as exc:
            raise SettingsRefused("\n".join(_explain(error) for error in exc.errors())) from exc
        refuse_misspelt_variables()
        check_together(settings)
        return settings

    @property
    def address(self) -> str:
        """Where to listen, as `host:port`; an IPv6 address stands in brackets."""
        host = self.host.strip("[]")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @classmethod
    def variables(cls) -> list[tuple[str, str, str]]:
        """(field, variable, sentence) of each setting, in the order of this file."""
        found = []
        for name, info in cls.model_fields.items():
            alias = info.validation_alias
            variable = alias.choices[0] if isinstance(alias, AliasChoices) else name
            found.append((name, str(variable), info.description or ""))
        return found


def _secrets(value: SecretStr) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, re.split(r"[,\n]", value.get_secret_value()))))


def refuse_misspelt_variables() -> None:
    """Refuse a variable whose name is nearly that of a setting, such as ASTROLABE_AUHT.

    Others with the prefix are ignored, above all those that Kubernetes sets.
    """
    known = {variable.removeprefix(PREFIX) for _, variable, _ in Settings.variables()}
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in known and not KUBERNETES.match(name):
            for meant in get_close_matches(name, known, n=1, cutoff=LIKENESS):
                raise SettingsRefused(f"{variable}: there is no such variable. Did you mean {PREFIX}{meant}?")


def _explain(error: Any) -> str:
    """Return one line for one wrong variable: its name, its value and what it should be."""
    name = str(error["loc"][0]) if error["loc"] else "settings"
    reason = str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    value = "***" if name in SECRETS else repr(error["input"])
    return f"{name}={value}: should be {reason}. Change it, or unset it for the default."
