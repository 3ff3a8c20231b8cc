"""Load by wrk: as many requests as a server answers over some connections."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import Rate, cpu_seconds

SCRIPT = Path(__file__).with_name("wrk.lua")
KEY = {"Authorization": "Bearer sk-bench"}


class BenchFailed(Exception):
    """A figure could not be measured; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Load:
    """The figures of wrk; times in milliseconds."""

    rate: Rate
    p50: float
    p99: float


def wrk_command(
    url: str, seconds: float, connections: int, headers: Mapping[str, str], script: Sequence[str]
) -> list[str]:
    """Return the command line of one measurement."""
    path = shutil.which("wrk")
    if path is None:
        raise BenchFailed("wrk is not installed: `apt install wrk`, or `brew install wrk`")
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    timing = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    return [path, *timing, *given, "-s", str(SCRIPT), url, "--", *script]


def wrk(
    url: str,
    seconds: float,
    *,
    pids: Sequence[int] = (),
    connections: int = 16,
    body: Path | None = None,
    headers: Mapping[str, str] = KEY,
) -> Load:
    """Request `url` for `seconds` (a whole number); `body` makes it a POST of that file's JSON."""
    if body is not None:
        headers = {**headers, "Content-Type": "application/json"}
    script = ["GET"] if body is None else ["POST", str(body)]
    before = cpu_seconds(pids)
    command = wrk_command(url, seconds, connections, headers, script)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read(url, done.returncode, done.stdout, done.stderr, cpu_seconds(pids) - before)


def read(url: str, status: int, output: str, errors: str, cpu: float) -> Load:
    """Read wrk's last line; BenchFailed if any response was not a success."""
    if status != 0:
        raise BenchFailed(f"wrk failed at {url}: {errors.strip() or output.strip()}")
    counted = json.loads(output.splitlines()[-1])
    if counted["not_2xx"] or counted["broken"] or not counted["requests"]:
        raise BenchFailed(f"{url} did not answer every request well: {counted}")
    rate = Rate(counted["requests"], counted["microseconds"] / 1e6, cpu)
    return Load(rate, counted["p50"] / 1000, counted["p99"] / 1000)
