"""The shipped editions, loaded once for the tests of a process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spec.edition import Edition, load, shipped
from spec.operation import Operation


@pytest.fixture(scope="session")
def editions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Edition]:
    # One cache for all workers of a parallel run.
    cache = Path(tmp_path_factory.getbasetemp()).parent / "astrolabe-editions"
    return {name: load(name, cache) for name in shipped()}


@pytest.fixture(scope="session")
def newest(editions: dict[str, Edition]) -> Edition:
    return editions[max(editions)]


@pytest.fixture(scope="session")
def operation(newest: Edition) -> Callable[[str], Operation]:
    by_name = {one.name: one for one in newest.operations}
    return by_name.__getitem__
