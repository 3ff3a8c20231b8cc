"""The engine of a store's URL."""

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from persistence.errors import StoreRefused
from persistence.store import Store

FORMS = "sqlite:///relative/path, sqlite:////absolute/path, cassandra://host/keyspace or astra://database-id"


def open_store(url: str) -> Store:
    """Return the store of a URL, not connected yet; StoreRefused for an unusable URL."""
    scheme, separator, _ = url.partition("://")
    if scheme == "sqlite" and separator:
        return sqlite(url)
    if scheme in ("cassandra", "astra") and separator:
        from persistence.cassandra import from_url  # noqa: PLC0415 - the driver takes 0.2 s

        return from_url(url)
    raise StoreRefused(f"{url!r} is not a store's URL: write {FORMS}")


def token_template(url: str) -> Store:
    """Return what stands for the stores of all tokens, never opened; StoreRefused for an unusable URL."""
    from persistence.cassandra import template  # noqa: PLC0415 - the driver takes 0.2 s

    return template(url)


def is_for_tokens(url: str) -> bool:
    """Return whether a URL is `astra://` without a token, so that each caller's token opens a store."""
    parts = urlsplit(url)
    return parts.scheme == "astra" and not parts.password and "token" not in dict(parse_qsl(parts.query))


async def open_for_token(url: str, token: str, database: str) -> Store:
    """Return the store of a caller's token, not connected yet; StoreRefused, StoreUnavailable."""
    from persistence.cassandra import for_token  # noqa: PLC0415 - the driver takes 0.2 s

    return await for_token(url, token, database)


def sqlite(url: str) -> Store:
    """Return the SQLite store of a path; `?vector_memory_mb=` limits the vectors that a worker keeps."""
    from persistence.sqlite import SQLiteStore  # noqa: PLC0415 - needs apsw's library

    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or parts.fragment or not path or path.endswith("/"):
        raise StoreRefused(
            f"{url!r} is not the path of a file: write sqlite:///./data/astrolabe.db, with a fourth slash "
            "before an absolute path"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    megabytes = options.pop("vector_memory_mb", "512")
    if options or not megabytes.isdecimal():
        raise StoreRefused(
            f"{url!r} has an unknown option or value: write sqlite:///path?vector_memory_mb=512"
        )
    return SQLiteStore(Path(path), vector_memory=int(megabytes) * 1024 * 1024)
