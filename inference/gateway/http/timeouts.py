"""The timeouts of a route that are not the connection's: until the first byte, and for the whole answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from inference.errors import ProviderTimeout
from inference.gateway import failures
from inference.gateway.driver import ProviderResponse

Result = TypeVar("Result")


async def within(seconds: float | None, work: Awaitable[Result]) -> Result:
    """Return what `work` returns, or raise ProviderTimeout if the provider is silent for so long."""
    if seconds is None:
        return await work
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise failures.timed_out(seconds) from exc


class TimedResponse(ProviderResponse):
    """A response that has to end by a time of the event loop's clock."""

    def __init__(self, response: ProviderResponse, deadline: float, seconds: float) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._deadline = deadline
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body; raise ProviderTimeout at the deadline."""
        pieces = aiter(self._response)
        while True:
            try:
                async with asyncio.timeout_at(self._deadline) as limit:
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as exc:
                if not limit.expired():
                    raise
                raise not_whole(self._seconds) from exc
            yield piece

    async def drain(self) -> None:
        """Wait briefly for the end of the body."""
        await self._response.drain()

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


async def whole_within(seconds: float, sending: Awaitable[ProviderResponse]) -> ProviderResponse:
    """Return the response of a request that has to be answered to its end within `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.timeout_at(deadline) as limit:
            response = await sending
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise not_whole(seconds) from exc
    return TimedResponse(response, deadline, seconds)


def not_whole(seconds: float) -> ProviderTimeout:
    """Return the error of an answer that did not end in time."""
    return ProviderTimeout(f"The provider did not finish its answer within {seconds:g} seconds.", status=504)
