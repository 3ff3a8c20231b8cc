"""Another client's reads while an attack goes on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.server import Server

PAUSE = 0.01


@contextmanager
def reads_meanwhile(server: Server) -> Iterator[list[float]]:
    """The seconds that each of another client's GETs takes while the block runs."""
    seconds: list[float] = []
    reading, stopped = threading.Event(), threading.Event()

    def read() -> None:
        with httpx.Client(base_url=server.url, headers={"Authorization": "Bearer other"}) as client:
            while not stopped.wait(PAUSE):
                began = time.monotonic()
                assert client.get("/assistants/asst_none").status_code == 404
                seconds.append(time.monotonic() - began)
                reading.set()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert reading.wait(20), "no GET was answered"
        yield seconds
    finally:
        stopped.set()
        thread.join()
