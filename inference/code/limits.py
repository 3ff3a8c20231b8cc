"""What the code in one sandbox may use."""

from dataclasses import dataclass

GB = 1024**3
MB = 1024**2

DISK = 512 * MB
"""Bytes of the folder of files."""

FILES = 4096
"""Files in all writable folders."""

PROCESSES = 64
"""Processes and threads."""

CPU_SECONDS = 1200
"""CPU time of one process in all its life."""

SECONDS = 120.0
"""Wall-clock time of a call."""

TIERS = {"1g": GB, "4g": 4 * GB, "16g": 16 * GB, "64g": 64 * GB}
"""Memory of a container, by the names of OpenAI's API."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one sandbox: bytes, processes, processors and seconds.

    `memory` is what all processes may hold together, `disk` the size of the folder of files, and `cpus`
    counts for OCI runtimes only. `seconds` is the wall-clock time of a call, `cpu_seconds` the CPU time that
    one process may take in all its life. `output` is the text, and `images` the bytes of images, of one call.
    """

    memory: int = GB
    disk: int = DISK
    files: int = FILES
    scratch: int = 64 * MB
    processes: int = PROCESSES
    cpus: float = 2.0
    cpu_seconds: int = CPU_SECONDS
    seconds: float = SECONDS
    output: int = 256 * 1024
    images: int = 32 * MB
