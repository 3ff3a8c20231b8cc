"""The port to what isolates a sandbox: a command that runs the bridge where it can reach nothing."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from inference.code import system_calls
from inference.code.limits import Limits

BRIDGE = Path(__file__).with_name("bridge.py")

BRIDGE_INSIDE = "/run/bridge.py"

FOLDER = "/mnt/data"
"""Where the code finds its files, as in OpenAI's containers."""

SCRATCH = "/tmp"  # noqa: S108 - the sandbox's own

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the sandbox's own

TRIAL_SECONDS = 60.0
"""Seconds for a command of a trial."""


class SandboxUnavailable(Exception):
    """Code cannot be isolated on this machine; the text says why, and what would help."""


class CommandFailed(Exception):
    """A command could not be run, or failed; the text is the end of what it said."""


class Driver(Protocol):
    """Isolates the bridge of one sandbox.

    The bridge is the first process of a namespace of processes: so the code can neither kill nor stop it.
    `sees_processes` says whether the server sees these processes, as descendants of the command, and has to
    bound what all of them use together; else the driver does it.
    """

    name: str
    sees_processes: bool

    def missing(self) -> str | None:
        """Return what is missing, with what would help; None if a trial may succeed. Takes no time."""

    def try_out(self) -> None:
        """Isolate a process; SandboxUnavailable says why it cannot be done."""

    def command(self, limits: Limits, number: int) -> list[str]:
        """Return the command that runs a bridge; `number` tells the sandboxes of a machine apart."""

    def removal(self, number: int) -> list[str] | None:
        """Return the command that removes what the end of `command` may leave; None if it leaves nothing."""


def bridge_arguments(limits: Limits, *more: str) -> list[str]:
    """Return the arguments of the bridge.

    It sends a character more than the server shows, which then knows that there was more.
    """
    return [
        f"--system-calls={system_calls.encoded()}",
        f"--memory={limits.memory + ADDRESS_SPACE}",
        f"--cpu={limits.cpu_seconds}",
        f"--disk={limits.disk}",
        f"--output={limits.output + 1}",
        f"--images={limits.images}",
        f"--folder={FOLDER}",
        *more,
    ]


def printed(command: Sequence[str]) -> str:
    """Return what a command prints; raises CommandFailed."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TRIAL_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as exc:
        said = getattr(exc, "stderr", None) or str(exc)
        raise CommandFailed(str(said).strip()[-300:]) from exc
    return done.stdout


ADDRESS_SPACE = 2 * 1024**3
"""Bytes of address space beyond the memory: libraries reserve much that they never use."""

ENVIRONMENT = {
    "HOME": SCRATCH,
    "TMPDIR": SCRATCH,
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "IPYTHONDIR": f"{SCRATCH}/ipython",
    "JUPYTER_RUNTIME_DIR": f"{SCRATCH}/jupyter",
    "MPLCONFIGDIR": f"{SCRATCH}/matplotlib",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OPENBLAS_NUM_THREADS": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""All that the code sees of an environment."""
