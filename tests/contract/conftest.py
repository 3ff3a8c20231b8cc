import secrets
from collections.abc import AsyncIterator

import pytest

from persistence.store import Store
from tests.contract.engines import ENGINES
from tests.contract.samples import List
from tests.fixtures.stores import store_at

LISTS = {"test_documents", "test_pages"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What holds for documents and pages holds as well for documents that are kept with their parent."""
    if "messages" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in LISTS:
        metafunc.parametrize("messages", ["", "thread_1/"], indirect=True, ids=["apart", "beside"])


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with store_at(url, keep=True) as store:
        yield store


@pytest.fixture
def kind() -> str:
    return f"kind-{secrets.token_hex(8)}"


@pytest.fixture
def messages(store: Store, project: str, request: pytest.FixtureRequest) -> List:
    """A list; with a parameter, that is the prefix of its documents' ids."""
    return List(store, project, "messages", "thread_1", getattr(request, "param", ""))
