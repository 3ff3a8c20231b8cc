"""Isolate sandboxes as containers of an OCI runtime (Docker, Podman, gVisor's runsc), by its command line."""

import os
import platform
import shlex
import shutil
import socket
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from inference.code import system_calls
from inference.code.driver import (
    BRIDGE,
    ENVIRONMENT,
    FOLDER,
    SCRATCH,
    CommandFailed,
    SandboxUnavailable,
    bridge_arguments,
    printed,
)
from inference.code.limits import Limits

USER = "65532:65532"

TRIAL = 99_999
"""The number of the container that is tried out; no sandbox has it."""

LABEL = f"astrolabe.sandboxes={socket.gethostname()}"

MOUNT = "rw,exec,nosuid,nodev,mode=1777"


class OCIRuntime:
    """Runs bridges by `COMMAND run … IMAGE python3`, where COMMAND speaks Docker's command line.

    `command` may have options of `run`: `docker --runtime=runsc`. The runtime bounds memory, processes and
    CPU time of each container; the bridge comes as an argument, so the image needs nothing of the server.
    """

    sees_processes = False

    def __init__(self, command: str, image: str) -> None:
        self.name = command
        self._program, *self._options = shlex.split(command)
        self._image = image

    def missing(self) -> str | None:
        """Return what is missing, with what would help."""
        if shutil.which(self._program) is None:
            return f"ASTROLABE_SANDBOX={self.name}: there is no command {self._program}"
        if system_calls.program() is None:
            return f"there is no filter of system calls for {platform.machine()}"
        return None

    def try_out(self) -> None:
        """Start a container that ends at once, and remove those that dead workers left behind."""
        try:
            printed([*self._run(Limits(), TRIAL), "-c", "import ipykernel"])
            names = printed([self._program, "ps", "--all", f"--filter=label={LABEL}", "--format={{.Names}}"])
            if left := [name for name in names.split() if not _has_worker(name)]:
                printed([self._program, "rm", "--force", *left])
        except CommandFailed as exc:
            raise SandboxUnavailable(f"{self.name} cannot run {self._image}: {exc}") from exc

    def command(self, limits: Limits, number: int) -> list[str]:
        """Return the command that runs the bridge of one sandbox."""
        return [*self._run(limits, number), "-c", self._bridge, *bridge_arguments(limits)]

    def removal(self, number: int) -> list[str]:
        """Return the command that removes a container whose bridge did not end by itself."""
        return [self._program, "rm", "--force", _name(number)]

    @cached_property
    def _bridge(self) -> str:
        return BRIDGE.read_text()

    def _run(self, limits: Limits, number: int) -> Sequence[str]:
        """Return the command of a Python in a container, without its arguments."""
        writable = limits.disk + 2 * limits.scratch  # files in memory count as memory
        memory = str(limits.memory + writable)
        return [
            *(self._program, "run", "--rm", "--interactive", "--pull=never"),
            *(
                f"--name={_name(number)}",
                f"--label={LABEL}",
                "--log-driver=none",
                "--hostname=sandbox",
                "--network=none",
            ),
            *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--user={USER}"),
            *(f"--memory={memory}", f"--memory-swap={memory}", f"--pids-limit={limits.processes}"),
            *(
                f"--cpus={min(limits.cpus, os.cpu_count() or 1)}",
                "--cpu-shares=128",
                f"--shm-size={limits.scratch}",
            ),
            *(
                f"--tmpfs={FOLDER}:{MOUNT},size={limits.disk}",
                f"--tmpfs={SCRATCH}:{MOUNT},size={limits.scratch}",
            ),
            f"--workdir={FOLDER}",
            *(f"--env={variable}={value}" for variable, value in ENVIRONMENT.items() if variable != "PATH"),
            *self._options,
            *(self._image, "python3", "-I"),
        ]


def _name(number: int) -> str:
    return f"astrolabe-{socket.gethostname()}-{os.getpid()}-{number}"


def _has_worker(name: str) -> bool:
    """Whether the process runs that started a container."""
    pid = name.split("-")[-2]
    return Path("/proc", pid).exists()
