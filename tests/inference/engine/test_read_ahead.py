"""What a provider has sent counts, however slow the store is."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from inference.engine import read_ahead as ahead
from inference.engine.read_ahead import read_ahead


class Broken(Exception):
    """How a provider breaks off."""


class Provider:
    """Sends so many chunks at once and breaks off."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0
        self.closed = asyncio.Event()

    async def chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        try:
            for number in range(1, self.count + 1):
                self.sent = number
                yield {"n": number}
            raise Broken
        finally:
            self.closed.set()


async def test_what_arrived_before_a_provider_broke_off_comes_before_its_error() -> None:
    provider = Provider(5)
    got = []
    with pytest.raises(Broken):
        async for chunk in read_ahead(provider.chunks()):
            await provider.closed.wait()  # busy until the provider is gone
            got.append(chunk["n"])
    assert got == [1, 2, 3, 4, 5]


async def test_a_provider_is_closed_when_its_answer_is_no_longer_wanted() -> None:
    provider = Provider(10**6)
    reading = read_ahead(provider.chunks())
    assert await anext(reading) == {"n": 1}
    await reading.aclose()
    assert provider.closed.is_set()


async def test_no_more_is_read_ahead_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST", 10)
    provider = Provider(100)
    got = []
    with pytest.raises(Broken):
        async for chunk in read_ahead(provider.chunks()):
            await asyncio.sleep(0)
            assert provider.sent - len(got) <= 12
            got.append(chunk["n"])
    assert got == list(range(1, 101))
