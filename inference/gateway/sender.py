"""Sends one request to one deployment, by the driver of its wire, within its timeouts."""

import asyncio
import importlib
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import replace

from inference.gateway import failures
from inference.gateway.driver import Driver, ProviderRequest, ProviderResponse
from inference.gateway.drivers.local_driver import LocalDriver
from inference.gateway.drivers.openai_driver import OpenAIDriver
from inference.gateway.drivers.responses_driver import ResponsesDriver
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.timeouts import whole_within, within
from inference.gateway.realtime import ProviderSocket, open_socket
from inference.gateway.routing.targets import Target, Wire
from inference.local.models import LocalModels

LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""


class Sender:
    """Has a driver for each wire; connections stay open whatever routes lead to them."""

    def __init__(self, guard: HostGuard, local: LocalModels | None) -> None:
        self._guard = guard
        self._local = local
        self._drivers: dict[Wire, Driver] = {}

    async def open(self, wires: Collection[Wire]) -> None:
        """Create the drivers that these wires need and that are not there yet."""
        if not self._drivers:
            self._drivers["openai"] = openai = OpenAIDriver()
            self._drivers["responses"] = ResponsesDriver(openai)
            if self._local is not None:
                self._drivers["local"] = LocalDriver(self._local.sockets)
        if "litellm" in wires and "litellm" not in self._drivers:
            # The import takes seconds, so only if needed, and in a thread: the loop answers probes.
            module = await asyncio.to_thread(
                importlib.import_module, "inference.gateway.drivers.litellm_driver"
            )
            self._drivers["litellm"] = module.LiteLLMDriver()

    async def close(self) -> None:
        """Close every connection."""
        for driver in self._drivers.values():
            await driver.close()
        self._drivers.clear()

    async def open_realtime(
        self, target: Target, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> ProviderSocket:
        """Open a WebSocket to the Realtime API."""
        return await open_socket(await self._checked(target), query, headers)

    async def _checked(self, target: Target) -> Target:
        """Return a target whose URL a caller gave with the address to connect to, which was checked."""
        if not target.is_callers_url:
            return target
        address = await self._guard.address(target.base_url, target.connect_timeout)
        return replace(target, address=address)

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Send a request, once, and return the response; an error if it is not 2xx."""
        target = await self._checked(target)
        sending = self._drivers[target.wire].send(target, request)
        if target.first_byte_timeout is None and target.total_timeout is None:
            response = await sending
        elif target.total_timeout is None:
            response = await within(target.first_byte_timeout, sending)
        else:
            response = await whole_within(target.total_timeout, within(target.first_byte_timeout, sending))
        if 200 <= response.status < 300:
            return response
        if target.is_callers_url and 300 <= response.status < 400:
            await response.aclose()
            raise failures.redirected()
        async with aclosing(response):
            start = await response.start(LARGEST_ERROR)
        raise failures.from_response(target, request.described, response.status, response.headers, start)
