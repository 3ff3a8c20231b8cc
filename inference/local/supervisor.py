"""Starts the models' process, restarts it if it dies, and ends when its own standard input closes.

It is a separate process because gunicorn's master reaps children that it does not know. If the
process that started it is killed, the pipe closes and both processes end.
"""

import shutil
import subprocess
import sys
import threading
import time

SERVER = "inference.local.server"
MAX_WAIT = 30.0
"""Seconds between two restarts of a process that keeps dying."""


def main(sockets: str, cache: str) -> None:
    """Supervise until standard input closes."""
    ending = threading.Event()
    current: list[subprocess.Popen[bytes]] = []
    threading.Thread(target=_end_with_input, args=(ending, current), daemon=True).start()
    wait = 0.0
    while not ending.is_set():
        begun = time.monotonic()
        command = [sys.executable, "-P", "-m", SERVER, sockets, cache]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
        current[:] = [process]
        if ending.is_set():  # set before the other thread saw this process
            process.kill()
        status = process.wait()
        if ending.is_set():
            break
        lived = time.monotonic() - begun
        wait = 0.0 if lived > MAX_WAIT else min(2 * wait + 0.1, MAX_WAIT)
        print(f"local models: ended with status {status}, restarting", file=sys.stderr, flush=True)  # noqa: T201
        ending.wait(wait)
    shutil.rmtree(sockets, ignore_errors=True)


def _end_with_input(ending: threading.Event, current: list[subprocess.Popen[bytes]]) -> None:
    sys.stdin.buffer.read()
    ending.set()
    for process in current:
        process.kill()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
