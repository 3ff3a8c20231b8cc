"""The store's URL: addresses, credentials and options of a cluster."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from persistence.errors import StoreRefused

COMMON_OPTIONS = frozenset({"keyspace", "wait", "timeout"})
OPTIONS = {
    "cassandra": COMMON_OPTIONS | {"dc", "rf", "ssl", "ca", "user", "password"},
    "astra": COMMON_OPTIONS | {"bundle", "token", "api"},
}
DEFAULT_PORT = 9042
ASTRA_API = "https://api.astra.datastax.com"


@dataclass(frozen=True, slots=True)
class Target:
    """A keyspace of a cluster or of an Astra database, and its credentials."""

    keyspace: str
    contact_points: tuple[str, ...] = ()
    port: int = DEFAULT_PORT
    datacenter: str | None = None
    replicas: int = 1
    username: str | None = None
    password: str | None = None
    ssl: bool = False
    ca: str | None = None
    bundle: str | None = None
    database: str | None = None
    api: str = ASTRA_API
    wait: float = 30.0
    timeout: float = 10.0

    @property
    def name(self) -> str:
        """The cluster as errors name it, without credentials."""
        if self.database:
            return f"Astra database {self.database}" + (f" ({self.bundle})" if self.bundle else "")
        return ", ".join(f"{host}:{self.port}" for host in self.contact_points)


def parse(url: str, *, token: str = "", database: str = "") -> Target:
    """Return the target of `cassandra://[user:password@]host[:port][,host…]/keyspace?dc=…&rf=…&ssl=…`.

    Or of `astra://database-id/keyspace?token=…`; `token` and `database` are used where it has none (a named
    database goes before the URL's). Options: `ssl` (true or false), `ca` (a file of trusted
    certificates), `bundle` (a file, else it is fetched), `api` (another DevOps API), `wait` (seconds that
    start-up waits: 30, Astra 120), `timeout` (seconds of an operation). StoreRefused names what is wrong.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - OPTIONS.get(parts.scheme, OPTIONS["cassandra"])):
        raise StoreRefused(f"the store's URL has an unknown option: {unknown[0]}")
    keyspace = options.get("keyspace") or parts.path.strip("/") or "astrolabe"
    if not keyspace.replace("_", "a").isalnum() or not keyspace[0].isalpha() or len(keyspace) > 48:
        raise StoreRefused(f"{keyspace!r} cannot be the name of a keyspace")
    timeout = _seconds(options, "timeout", 10.0)
    if parts.scheme == "astra":
        options.setdefault("token", unquote(parts.password or "") or token)
        return _astra(database or parts.hostname or "", options, keyspace.lower(), timeout)
    hosts, port = _hosts(parts.netloc.rpartition("@")[2])
    credentials = parts.netloc.rpartition("@")[0]
    user, _, password = credentials.partition(":")
    return Target(
        keyspace.lower(),
        hosts,
        port,
        datacenter=options.get("dc"),
        replicas=_replicas(options.get("rf", "1")),
        username=unquote(user) or options.get("user"),
        password=unquote(password) or options.get("password"),
        ssl=_flag(options.get("ssl", "false")) or "ca" in options,
        ca=options.get("ca"),
        wait=_seconds(options, "wait", 30.0),
        timeout=timeout,
    )


def _astra(database: str, options: dict[str, str], keyspace: str, timeout: float) -> Target:
    bundle, token = options.get("bundle"), options["token"]
    api = options.get("api", ASTRA_API).rstrip("/")
    if bundle is not None:
        bundle = str(Path(bundle).expanduser())
        if not Path(bundle).is_file():
            raise StoreRefused(f"bundle={bundle} is not a file: leave the option out to fetch the bundle")
    if not database:
        raise StoreRefused("the store's URL names no database: astra://database-id/keyspace?token=AstraCS:…")
    if not token:
        raise StoreRefused("astra:// needs token=AstraCS:…, a token of the database")
    if urlsplit(api).scheme not in {"http", "https"}:
        raise StoreRefused(f"api={api} is not an http or https URL")
    return Target(
        keyspace,
        username="token",
        password=token,
        bundle=bundle,
        database=database,
        api=api,
        wait=_seconds(options, "wait", 120.0),
        timeout=timeout,
    )


def _hosts(netloc: str) -> tuple[tuple[str, ...], int]:
    """Return the host names and their one port: the driver cannot use several."""
    hosts, ports = [], set()
    for part in filter(None, netloc.split(",")):
        split = urlsplit(f"//{part}")
        try:
            port = split.port or DEFAULT_PORT
        except ValueError as exc:
            raise StoreRefused(f"{part!r} has no valid port") from exc
        if not split.hostname:
            raise StoreRefused(f"{part!r} is not a host")
        hosts.append(split.hostname)
        ports.add(port)
    if not hosts:
        raise StoreRefused("the store's URL names no host: cassandra://host[:port]/keyspace")
    if len(ports) > 1:
        raise StoreRefused("all hosts of a cluster must listen on the same port")
    return tuple(hosts), ports.pop()


def _replicas(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 9:
        raise StoreRefused(f"rf={text} is not a replication factor: write 1 to 9")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise StoreRefused(f"ssl={text}: write true or false")
    return text.lower() in {"true", "1"}


def _seconds(options: dict[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError as exc:
        raise StoreRefused(f"{name}={text} is not a number of seconds") from exc
    if not 0 < value < 3600:
        raise StoreRefused(f"{name}={text}: write seconds over 0 and under 3600")
    return value
