"""The driver for providers that speak OpenAI's wire, over one shared aiohttp session."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import lru_cache
from typing import Any

import aiohttp
import orjson
import yarl

from inference.errors import ProviderError
from inference.gateway import failures, sse
from inference.gateway.targets import Target

JSON = dict[str, Any]

LARGEST_ERROR = 64 * 1024
"""Bytes that are read of an error's body."""


class OpenAIDriver:
    """Sends one request to one target, once. Every method raises ProviderErrors only."""

    def __init__(self, connector: aiohttp.BaseConnector | None = None) -> None:
        self._session = aiohttp.ClientSession(
            connector=connector or aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            read_bufsize=256 * 1024,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def complete(self, target: Target, request: JSON) -> JSON:
        """A chat completion."""
        return await self.relay(target, "/chat/completions", request)

    async def embed(self, target: Target, request: JSON) -> JSON:
        """Embeddings."""
        return await self.relay(target, "/embeddings", request)

    async def list_models(self, target: Target) -> list[JSON]:
        """What the provider's `/models` says."""
        data = (await self.get(target, "/models")).get("data")
        if not isinstance(data, list) or not all(isinstance(model, dict) for model in data):
            raise failures.garbage("it is no list of models")
        return data

    async def relay(self, target: Target, path: str, request: JSON) -> JSON:
        """The answer to a request that is not streamed."""
        async with self._request("POST", target, path, request) as response:
            return _object(await response.read())

    async def get(self, target: Target, path: str) -> JSON:
        """The answer to a GET."""
        async with self._request("GET", target, path, None) as response:
            return _object(await response.read())

    async def stream(self, target: Target, path: str, request: JSON) -> AsyncGenerator[bytes, None]:
        """The answer's events as the provider sent them, whole frames only, up to `[DONE]`.

        A key inside is starred. Closing the iterator closes the upstream connection at once.
        """
        secrets = [secret.encode() for secret in target.secrets()]
        ended = False
        async with self._request("POST", target, path, request) as response:
            if response.content_type != "text/event-stream":
                raise failures.garbage(f"it is {response.content_type}, not an event stream")
            async with aclosing(sse.whole_frames(response.content.iter_any())) as frames:
                async for piece in frames:
                    sse.check(piece)
                    ended = _is_sound_end(piece) or (ended and piece.startswith(b":"))
                    for secret in secrets:
                        if secret in piece:
                            piece = piece.replace(secret, b"***")  # noqa: PLW2901
                    yield piece
                    if piece.endswith(sse.DONE):
                        await _to_end(response.content)
                        return
        if not ended:
            raise failures.cut_off()
        yield sse.DONE

    @asynccontextmanager
    async def _request(
        self, method: str, target: Target, path: str, body: JSON | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"content-type": "application/json", **dict(target.headers)}
        if target.api_key:
            headers.setdefault("authorization", f"Bearer {target.api_key}")
        data = None if body is None else orjson.dumps(body)
        url = _url(target.base_url, path)
        timeout = _timeout(target.connect_timeout, target.read_timeout)
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    start = await response.content.read(LARGEST_ERROR)
                    raise failures.from_answer(response.status, response.headers, start, target.secrets())
                yield response
        except ProviderError:
            raise
        except aiohttp.ConnectionTimeoutError as exc:
            raise failures.unreachable("the connection timed out") from exc
        except (aiohttp.ServerTimeoutError, TimeoutError) as exc:
            raise failures.silent(target.read_timeout) from exc
        except aiohttp.ClientConnectorError as exc:
            raise failures.unreachable(exc.os_error.strerror or "the connection was refused") from exc
        except aiohttp.ServerDisconnectedError as exc:
            raise failures.unreachable("it closed the connection") from exc
        except aiohttp.ClientPayloadError as exc:
            raise failures.cut_off() from exc
        except sse.NotEvents as exc:
            raise failures.garbage(str(exc)) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise failures.unreachable(type(exc).__name__) from exc


@lru_cache(maxsize=1024)
def _url(base: str, path: str) -> yarl.URL:
    return yarl.URL(base + path)


@lru_cache(maxsize=1024)
def _timeout(connect: float, read: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)


async def _to_end(content: aiohttp.StreamReader) -> None:
    """Read what ends the answer behind `[DONE]`, so that the connection can be used again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await content.readany()


def _object(body: bytes) -> JSON:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise failures.garbage("it is no JSON") from exc
    if not isinstance(value, dict):
        raise failures.garbage("it is no JSON object")
    return value


def _is_sound_end(piece: bytes) -> bool:
    """Whether a stream may stop after these frames: some providers leave `[DONE]` out."""
    return b'"finish_reason":"' in piece or b'"finish_reason": "' in piece or b'"choices":[]' in piece
