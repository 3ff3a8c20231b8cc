from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from persistence.sqlite import SQLiteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    yield store
    await store.close()
