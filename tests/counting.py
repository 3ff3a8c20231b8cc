"""A store that counts calls: the round trips of an operation."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from persistence.store import Store


def counted(verb: str) -> Callable[..., Any]:
    """Make a method that counts a call and passes it on."""

    def call(self: "CountingStore", *arguments: Any, **keywords: Any) -> Any:
        self.calls[verb] += 1
        return getattr(self.store, verb)(*arguments, **keywords)

    return call


class CountingStore(Store):
    """Passes everything on to `store`; `calls` counts by verb, `update` as the reads and writes it makes.

    `calls.total()` is the number of round trips; `calls.clear()` resets it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.atomic_writes = store.atomic_writes
        self.calls: Counter[str] = Counter()

    open = counted("open")
    close = counted("close")
    migrate = counted("migrate")
    ping = counted("ping")
    get = counted("get")
    page = counted("page")
    write = counted("write")
    take_jobs = counted("take_jobs")
    renew_job = counted("renew_job")
    read_log = counted("read_log")
    sweep = counted("sweep")
    write_content = counted("write_content")
    read_content = counted("read_content")
    delete_content = counted("delete_content")
    put_chunks = counted("put_chunks")
    set_attributes = counted("set_attributes")
    delete_chunks = counted("delete_chunks")
    read_chunks = counted("read_chunks")
    search_text = counted("search_text")
    search_vectors = counted("search_vectors")
    export = counted("export")
    load = counted("load")
