import os
import sys
from pathlib import Path
from subprocess import run

import pytest

from persistence import open_store
from persistence.errors import StoreRefused
from persistence.sqlite import SQLiteStore


async def test_a_url_with_four_slashes_is_an_absolute_path(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/deep/er/store%20one.db")
    await store.migrate()
    assert (tmp_path / "deep" / "er" / "store one.db").is_file()


async def test_a_url_with_three_slashes_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await open_store("sqlite:///./data/store.db").migrate()
    assert (tmp_path / "data" / "store.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///data/",
        "sqlite://host/path.db",
        "sqlite:///a.db?mode=ro",
        "sqlite:///a.db?vector_memory_mb=much",
        "sqlite:///a.db?vector_memory_mb=",
        "postgres://host/db",
        "/data/store.db",
    ],
)
def test_a_url_that_names_no_store_is_refused_with_a_valid_example(url: str) -> None:
    with pytest.raises(StoreRefused, match="write sqlite:///") as refused:
        open_store(url)
    assert repr(url) in str(refused.value)


def test_the_memory_for_vectors_is_an_option_of_the_url() -> None:
    store = open_store("sqlite:///store.db?vector_memory_mb=64")
    assert isinstance(store, SQLiteStore)
    assert store._indexes._capacity == 64 * 1024 * 1024


def test_the_embedded_store_needs_neither_the_cluster_driver_nor_numpy() -> None:
    program = f"""
import sys
from {open_store.__module__} import open_store
assert type(open_store("sqlite:///x.db")).__name__ == "{SQLiteStore.__name__}"
assert not {{"cassandra", "numpy"}} & set(sys.modules)
"""
    run([sys.executable, "-c", program], check=True, env=dict(os.environ))
