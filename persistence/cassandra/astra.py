"""Astra DB's DevOps API: fetches the secure-connect bundle, creates keyspaces (CQL cannot)."""

import asyncio
import io
import json
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from persistence.cassandra.url import Target
from persistence.errors import CredentialsRefused, DatabaseAmbiguous, StoreRefused, StoreUnavailable

PAUSE = 1.0
"""Seconds between two questions whether a database is ready."""

ACTIVE = "ACTIVE"
TRANSITIONAL = frozenset(
    {"PENDING", "PREPARING", "PREPARED", "INITIALIZING", "ASSOCIATING", "MAINTENANCE", "RESIZING"}
    | {"RESUMING", "UNPARKING"}
)
"""What a database that is not ACTIVE may be, and become ACTIVE by itself."""

DENIED = (401, 403)
RETRYABLE = (408, 409, 425, 429)

UNSUPPORTED_OPTIONS = frozenset(
    {"additional_write_policy", "bloom_filter_fp_chance", "caching", "cdc", "compaction", "compression"}
    | {"crc_check_chance", "gc_grace_seconds", "id", "max_index_interval", "memtable", "min_index_interval"}
    | {"memtable_flush_period_in_ms", "read_repair", "speculative_retry"}
)
"""Options of tables that Astra decides itself: it passes over them, with a warning each."""


def supported(definition: str) -> str:
    """Return a definition without the table options that Astra ignores with a warning."""
    head, *options = re.split(r"\sWITH\s", definition, maxsplit=1)
    kept = [
        option
        for option in (re.split(r"\sAND\s", options[0]) if options else [])
        if option.split("=")[0].strip().lower() not in UNSUPPORTED_OPTIONS
    ]
    return f"{head} WITH {' AND '.join(kept)}" if kept else head


@contextmanager
def private_file(content: bytes) -> Iterator[str]:
    """Yield the path of a temporary file that only its owner can read: a bundle holds a private key."""
    with tempfile.TemporaryDirectory(prefix="astrolabe-") as folder:
        path = Path(folder) / "secure-connect.zip"
        path.touch(mode=0o600)
        path.write_bytes(content)
        yield str(path)


class DevOps:
    """Client of the DevOps API for one database; retries until `target.wait` seconds have passed.

    StoreRefused where waiting cannot help, else StoreUnavailable in the end; neither shows the token.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._deadline = time.monotonic() + target.wait
        self._last_failure = ""

    async def fetch_bundle(self) -> bytes:
        """Return the secure-connect bundle of the database's first region, a zip file."""
        async with self._session() as session:
            answer = await self._request_with_retry(session, "POST", f"{self._database}/secureBundleURL")
            url = answer.get("downloadURL") if isinstance(answer, dict) else None
            if not isinstance(url, str):
                raise StoreRefused(f"{self._name}: the API returned no URL of a secure-connect bundle")
            content = await self._request_with_retry(session, "GET", url)
        if not isinstance(content, bytes) or not is_bundle(content):
            raise StoreRefused(f"{self._name}: the API returned something other than a secure-connect bundle")
        return content

    async def only_database(self) -> str:
        """Return the id of the one database that the token opens; DatabaseAmbiguous unless there is one."""
        async with self._session() as session:
            answer = await self._request_with_retry(session, "GET", f"{self._target.api}/v2/databases")
        found = answer if isinstance(answer, list) else []
        ids = [str(each["id"]) for each in found if isinstance(each, dict) and each.get("id")]
        if len(ids) != 1:
            raise DatabaseAmbiguous(
                f"the token opens {len(ids)} databases: name one in the header astra-db-id"
            )
        return ids[0]

    async def create_keyspace(self) -> None:
        """Create the target's keyspace if it is missing, and wait until the database is active."""
        keyspace = self._target.keyspace
        made = False
        async with self._session() as session:
            while True:
                database = await self._request_with_retry(session, "GET", self._database)
                status = self._status(database)
                if status == ACTIVE and (made or keyspace in keyspaces_of(database)):
                    return
                if status == ACTIVE:
                    path = f"{self._database}/keyspaces/{keyspace}"
                    made = await self._request(session, "POST", path) is not None
                await self._wait(f"it is {status}, and has no keyspace {keyspace} yet")

    # --- one request ---

    @property
    def _name(self) -> str:
        return f"Astra database {self._target.database}"

    @property
    def _database(self) -> str:
        return f"{self._target.api}/v2/databases/{self._target.database}"

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._target.timeout))

    def _status(self, database: Any) -> str:
        status = str(database.get("status")) if isinstance(database, dict) else "unknown"
        if status != ACTIVE and status not in TRANSITIONAL:
            raise StoreRefused(f"{self._name} is {status}: resume it, or name another one")
        return status

    async def _request_with_retry(self, session: aiohttp.ClientSession, method: str, url: str) -> Any:
        while True:
            answer = await self._request(session, method, url)
            if answer is not None:
                return answer
            await self._wait(self._last_failure)

    async def _request(self, session: aiohttp.ClientSession, method: str, url: str) -> Any:
        """Return the API's answer, JSON or bytes; None if a retry may help."""
        is_devops = url.startswith(
            f"{self._target.api}/v2/databases"
        )  # the bundle lies elsewhere, and is not to see the token
        headers = {"Authorization": f"Bearer {self._target.password}"} if is_devops else {}
        try:
            async with session.request(method, url, headers=headers) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            host = self._target.api if is_devops else "the bundle's address"
            self._last_failure = f"no answer from {host}: {describe(exc)}"
            return None
        if response.status >= 500 or response.status in RETRYABLE:
            self._last_failure = f"the API answered {response.status}{error_message(content)}"
            return None
        if response.status >= 400:
            raise self._refusal(response.status, content)
        return parse_body(content)

    def _refusal(self, status: int, content: bytes) -> StoreRefused:
        if status in DENIED:
            advice = "make a token for it whose role may create keyspaces and connect by CQL"
            return CredentialsRefused(f"{self._name} is not open to this token ({status}): {advice}")
        if status == 404:
            return CredentialsRefused(f"{self._name} does not exist, or its token is another organization's")
        return StoreRefused(f"{self._name}: the API answered {status}{self._clean(error_message(content))}")

    async def _wait(self, why: str) -> None:
        if time.monotonic() + PAUSE > self._deadline:
            advice = "see its state in Astra's portal, or give it longer with wait=SECONDS"
            raise StoreUnavailable(
                f"{self._name} was not ready within {self._target.wait:g} s ({self._clean(why)}): {advice}"
            )
        await asyncio.sleep(PAUSE)

    def _clean(self, text: str) -> str:
        """Return the text without the token."""
        return text.replace(self._target.password or "\0", "…")


def parse_body(content: bytes) -> Any:
    """Return the JSON of a body, its bytes if it is none, or {} if it is empty."""
    try:
        return json.loads(content) if content else {}
    except ValueError:
        return content


def error_message(content: bytes) -> str:
    """Return the first message of an API error, after a colon."""
    answer = parse_body(content)
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return ""
    return f": {errors[0].get('message', '')}"


def describe(exc: BaseException) -> str:
    """Return an error of the HTTP library in a few words."""
    return str(exc) or type(exc).__name__


def keyspaces_of(database: Any) -> set[str]:
    """Return the keyspaces that the API names, in its older and its newer notation."""
    info = database.get("info") or {}
    return {info.get("keyspace"), *(info.get("keyspaces") or ()), *(info.get("additionalKeyspaces") or ())}


def is_bundle(content: bytes) -> bool:
    """Return whether the bytes are a zip file with the members that the driver needs."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            return {"config.json", "ca.crt", "cert", "key"} <= set(bundle.namelist())
    except zipfile.BadZipFile:
        return False
