"""Reads another server's API, with retries."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from persistence.types import JSON

ATTEMPTS = 6
LONGEST_WAIT = 60.0
PAGE = 100
CONNECT_SECONDS = 10.0
TIMEOUT = httpx.Timeout(60.0, connect=CONNECT_SECONDS)
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})


class SourceError(Exception):
    """The other server cannot be read: its address, its key or its answers are wrong."""


class Refused(SourceError):
    """The other server answered one request with an error; `status` is its code."""

    def __init__(self, path: str, status: int, reason: str) -> None:
        super().__init__(f"GET {path}: {status} {reason}"[:500])
        self.status = status


class SourceClient:
    """GETs JSON and bytes below a base URL; the query of the URL (`api-version`) goes with each request.

    A server that cannot be reached is reported at once, and one that answered before is tried again.
    """

    def __init__(self, url: str, headers: dict[str, str], concurrency: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SourceError(f"{url!r} is not an http or https URL")
        self.name = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
        self._query = httpx.QueryParams(parts.query)
        self._base = self.name.rstrip("/")
        self._has_answered = False
        self._slots = asyncio.Semaphore(concurrency)
        self._http = httpx.AsyncClient(
            headers={"OpenAI-Beta": "assistants=v2", **headers},
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=concurrency),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(self, path: str, **query: Any) -> JSON:
        """Return an object; raise Refused, or SourceError for what is no JSON object."""
        async with self._slots:
            response = await self._answer(path, query)
            try:
                body = await response.aread()
            finally:
                await response.aclose()
        try:
            value = response.json()
        except ValueError as exc:
            raise SourceError(f"GET {path}: no JSON, but {body[:80]!r}") from exc
        if not isinstance(value, dict):
            raise SourceError(f"GET {path}: no JSON object, but {body[:80]!r}")
        return value

    async def download(self, path: str, to: Path) -> None:
        """Write the bytes of an answer to a file, which is there only when it is whole."""
        part = to.with_name(f"{to.name}.part")
        async with self._slots:
            response = await self._answer(path, {})
            try:
                with part.open("wb") as target:
                    async for piece in response.aiter_bytes():
                        await asyncio.to_thread(target.write, piece)
            except httpx.HTTPError as exc:
                raise SourceError(f"GET {path}: the answer broke off: {exc!r}") from exc
            finally:
                await response.aclose()
        part.replace(to)

    async def pages(self, path: str, **query: Any) -> AsyncIterator[list[JSON]]:
        """Yield the pages of a list, oldest objects first."""
        after: dict[str, Any] = {}
        seen: set[Any] = set()
        while True:
            answer = await self.get(path, limit=PAGE, order="asc", **query, **after)
            data = answer.get("data")
            if not isinstance(data, list):
                raise SourceError(f"GET {path}: no list, but an object of {sorted(answer)[:8]}")
            new = [one for one in data if isinstance(one, dict) and one.get("id") not in seen]
            yield new
            # A server that knows no cursors answers the same page again.
            if not new or not answer.get("has_more"):
                return
            seen = {one.get("id") for one in data}
            after = {"after": new[-1]["id"]}

    async def _answer(self, path: str, query: dict[str, Any]) -> httpx.Response:
        """Return a successful response that is not read yet; try again where that may help."""
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                request = self._http.build_request("GET", self._base + path, params=self._query.merge(query))
                response = await self._http.send(request, stream=True)
            except httpx.HTTPError as exc:
                if not self._has_answered and isinstance(exc, (httpx.ConnectError, httpx.ConnectTimeout)):
                    reason = str(exc) or f"no connection within {CONNECT_SECONDS:g} s"
                    raise SourceError(f"{self.name} cannot be reached: {reason}") from exc
                if last:
                    raise SourceError(f"GET {path}: {exc or type(exc).__name__}") from exc
                await asyncio.sleep(_wait(attempt, ""))
                continue
            self._has_answered = True
            if response.is_success:
                return response
            reason = await _reason(response)
            if last or response.status_code not in RETRIED:
                raise Refused(path, response.status_code, reason)
            await asyncio.sleep(_wait(attempt, response.headers.get("retry-after", "")))
        raise AssertionError("unreachable")


def _wait(attempt: int, retry_after: str) -> float:
    """Return the seconds before the next attempt."""
    if retry_after.isdigit():
        return min(float(retry_after), LONGEST_WAIT)
    return min(2.0**attempt / 4, LONGEST_WAIT) * (0.5 + random.random() / 2)  # noqa: S311 - no secret


async def _reason(response: httpx.Response) -> str:
    try:
        body = await response.aread()
    except httpx.HTTPError:
        body = b""
    finally:
        await response.aclose()
    if response.is_redirect:
        return f"redirects to {response.headers.get('location', '')}; give that URL"
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
