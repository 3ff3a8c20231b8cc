from collections.abc import AsyncIterator

import pytest

from tests.inference.engine.conftest import gateway, store
from tests.inference.webhooks.receiver import Receiver, receiver_at

__all__ = ["gateway", "store"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """An endpoint that answers 200."""
    async with receiver_at() as receiver:
        yield receiver
