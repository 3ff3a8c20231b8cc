"""What the code in one sandbox may use."""

from dataclasses import dataclass

GB = 1024**3
MB = 1024**2

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
    disk: int = 512 * MB
    files: int = 4096
    scratch: int = 64 * MB
    processes: int = 64
    cpus: float = 2.0
    cpu_seconds: int = 1200
    seconds: float = 120.0
    output: int = 256 * 1024
    images: int = 32 * MB
