"""The fake web of each test."""

from collections.abc import AsyncIterator

import pytest

from tests.inference.web.fakes import Web


@pytest.fixture
async def site() -> AsyncIterator[Web]:
    """Search services and pages on loopback."""
    async with Web() as web:
        yield web
