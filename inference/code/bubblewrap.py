"""Isolate sandboxes with bubblewrap: namespaces, read-only system files, no network, few system calls."""

import os
import platform
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from inference.code import system_calls
from inference.code.driver import (
    BRIDGE,
    BRIDGE_INSIDE,
    ENVIRONMENT,
    FOLDER,
    SCRATCH,
    SHARED_MEMORY,
    CommandFailed,
    SandboxUnavailable,
    bridge_arguments,
    printed,
)
from inference.code.limits import Limits

SYSTEM = tuple(
    Path("/", *path)
    for path in (
        ("usr", "bin"),
        ("usr", "lib"),
        ("usr", "lib64"),
        ("usr", "share", "fonts"),
        ("usr", "share", "zoneinfo"),
        ("etc", "fonts"),
        ("etc", "ld.so.cache"),
    )
)
LINKS = ("/bin", "/lib", "/lib64")

FIRST_USER = 2_000_000
"""Each sandbox of a server that runs as root is a user of its own, from here on."""

PREFIXES = "import sys; print(sys.prefix, sys.base_prefix, sep='\\n')"


class Bubblewrap:
    """Runs bridges with the `bwrap` command and the Python of an environment made for it."""

    name = "bubblewrap"
    sees_processes = True

    def __init__(self, python: Path) -> None:
        self._python = python

    def missing(self) -> str | None:
        """Return what is missing, with what would help."""
        if shutil.which("bwrap") is None:
            return "bwrap is missing: install the package bubblewrap"
        if system_calls.program() is None:
            return f"there is no filter of system calls for {platform.machine()}"
        if not os.access(self._python, os.X_OK):
            return f"{self._python} cannot be run: run `make sandbox`, or set ASTROLABE_SANDBOX_PYTHON"
        return None

    def try_out(self) -> None:
        """Isolate a Python that ends at once."""
        try:
            prefix, _ = self._prefixes
            printed([*self._inside(Limits()), "-S", "-c", ""])
        except (OSError, CommandFailed) as exc:
            raise SandboxUnavailable(f"bwrap cannot isolate a process here: {exc}") from exc
        if not any(prefix.glob("lib/python3*/site-packages/ipykernel")):
            raise SandboxUnavailable(f"{self._python} has no ipykernel: run `make sandbox`")

    def command(self, limits: Limits, number: int) -> list[str]:
        """Return the command that runs the bridge of one sandbox."""
        user = [f"--uid={FIRST_USER + number}"] if os.geteuid() == 0 else []
        bounds = (f"--processes={limits.processes}", *user)
        return [*self._inside(limits), BRIDGE_INSIDE, *bridge_arguments(limits, *bounds)]

    def removal(self, number: int) -> None:
        """Return None: its processes end together."""

    @cached_property
    def _prefixes(self) -> tuple[Path, Path]:
        """The folders of the environment, and of the Python that it was made with."""
        prefix, base = map(Path, printed([str(self._python), "-I", "-c", PREFIXES]).splitlines())
        return prefix, base

    def _inside(self, limits: Limits) -> list[str]:
        """Return the command of a Python inside a sandbox, without its arguments."""
        root = os.geteuid() == 0
        as_root = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_CHOWN")
        as_user = ("--unshare-user", "--uid", "1000", "--gid", "1000")
        scratch = ("--perms", "1777", "--size", str(limits.scratch), "--tmpfs")
        return [
            # As the first process of its namespace the bridge gets no signal from the code. bwrap's own first
            # process would have the server's environment, and no filter of system calls.
            *(
                "bwrap",
                "--as-pid-1",
                "--die-with-parent",
                "--new-session",
                "--clearenv",
                "--unshare-net",
                "--unshare-pid",
            ),
            *("--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--cap-drop", "ALL", *(as_root if root else as_user)),
            *(part for name, value in ENVIRONMENT.items() for part in ("--setenv", name, value)),
            *scratch,
            SCRATCH,  # first, since the environment may be below it
            *(part for path in self._mounted() for part in _bound(path)),
            *self._links(),
            *(part for path in self._hidden() for part in ("--tmpfs", str(path), "--remount-ro", str(path))),
            *("--ro-bind", str(BRIDGE), BRIDGE_INSIDE),
            *("--proc", "/proc", "--dev", "/dev", *scratch, SHARED_MEMORY),
            *("--perms", "0755", "--dir", "/mnt"),
            *("--perms", "0700", "--size", str(limits.disk), "--tmpfs", FOLDER),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", FOLDER, "--hostname", "sandbox"),
            *("--", str(self._python), "-I"),
        ]

    def _mounted(self) -> Iterator[Path]:
        yield from (path for path in SYSTEM if path.exists())
        prefix, base = self._prefixes
        if base != Path("/usr"):
            yield base
        yield prefix

    def _hidden(self) -> Iterator[Path]:
        """Yield the packages beside the Python that the environment was made with: the server may be one."""
        prefix, base = self._prefixes
        if base != prefix:
            yield from base.glob("lib/python3*/site-packages")

    def _links(self) -> Iterator[str]:
        """Yield the arguments for /bin, /lib and /lib64: links into /usr on most systems, folders on some."""
        for path in map(Path, LINKS):
            if path.is_symlink():
                yield from ("--symlink", str(path.readlink()), str(path))
            elif path.is_dir():
                yield from ("--ro-bind", str(path), str(path))


def _bound(path: Path) -> Iterator[str]:
    """Yield the arguments that mount a path where it is, below folders that every user may enter."""
    for parent in reversed(path.parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))
    yield from ("--ro-bind", str(path), str(path))
