"""Starts the models' process, and starts it again if it dies; ends with its own standard input.

A process of its own, because gunicorn's master reaps every child that it does not know, and because
whoever starts it may be killed at any time: then the pipe closes, and everything here ends.
"""

import shutil
import subprocess
import sys
import threading
import time

SERVER = "inference.local.server"
LONGEST_WAIT = 30.0


def main(sockets: str, cache: str) -> None:
    """Supervise until standard input ends."""
    ending = threading.Event()
    current: list[subprocess.Popen[bytes]] = []
    threading.Thread(target=_end_with_input, args=(ending, current), daemon=True).start()
    wait = 0.0
    while not ending.is_set():
        begun = time.monotonic()
        command = [sys.executable, "-P", "-m", SERVER, sockets, cache]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
        current[:] = [process]
        if ending.is_set():  # set before the other thread could see this process
            process.kill()
        status = process.wait()
        if ending.is_set():
            break
        lived = time.monotonic() - begun
        wait = 0.0 if lived > LONGEST_WAIT else min(2 * wait + 0.1, LONGEST_WAIT)
        print(f"local models: ended with status {status}, starting again", file=sys.stderr, flush=True)  # noqa: T201
        ending.wait(wait)
    shutil.rmtree(sockets, ignore_errors=True)


def _end_with_input(ending: threading.Event, current: list[subprocess.Popen[bytes]]) -> None:
    sys.stdin.buffer.read()
    ending.set()
    for process in current:
        process.kill()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
