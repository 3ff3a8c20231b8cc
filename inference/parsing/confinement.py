"""Confine the parser process: no network, no files but Python's own, few system calls.

All of it is Linux's and needs no privileges. What the kernel or the container does not allow is left
out and reported, because a server that parses without it is better than one that does not parse.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from inference.seccomp import (
    ALLOW,
    ANY_BIT,
    ARGUMENTS,
    DENY,
    EQUALS,
    LOAD,
    RETURN,
    Instruction,
    packed,
    start,
    verdict,
)

ROOT = Path(__file__).resolve().parents[2]

CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38

# Landlock: system calls (the same number on every architecture) and rights.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
RIGHTS = {1: 13, 2: 14}
"""Rights that each version knows, as a number of bits; later ones know 15."""

CLONE_THREAD = 0x10000
WRITABLE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of system calls that a filter compares.

    `calls` are what a file's process may ask of the kernel, beside opening files to read (`openat`) and
    starting threads (`clone`).
    """

    openat: int
    clone: int
    calls: Mapping[str, int]


# fmt: off
X86_64 = Architecture(openat=257, clone=56, calls={
    "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "ioctl": 16, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "sched_yield": 24,
    "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getpid": 39, "exit": 60,
    "uname": 63, "fcntl": 72, "ftruncate": 77, "getcwd": 79, "readlink": 89, "gettimeofday": 96,
    "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107,
    "getegid": 108, "sigaltstack": 131, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
    "getdents64": 217, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
    "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "newfstatat": 262, "readlinkat": 267,
    "faccessat": 269, "set_robust_list": 273, "getrandom": 318, "membarrier": 324, "statx": 332, "rseq": 334,
    "faccessat2": 439,
})
AARCH64 = Architecture(openat=56, clone=220, calls={
    "getcwd": 17, "dup": 23, "dup3": 24, "fcntl": 25, "ioctl": 29, "ftruncate": 46, "faccessat": 48,
    "close": 57, "getdents64": 61, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
    "pread64": 67, "pwrite64": 68, "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80, "exit": 93,
    "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113,
    "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
    "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
    "rt_sigreturn": 139, "times": 153, "uname": 160, "getrusage": 165, "gettimeofday": 169, "getpid": 172,
    "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179, "brk": 214,
    "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278,
    "membarrier": 283, "statx": 291, "rseq": 293, "faccessat2": 439,
})
# fmt: on

ARCHITECTURES = {"x86_64": X86_64, "aarch64": AARCH64}
"""Those that have a filter, by the names of `platform.machine()`."""


SYSTEM_FILES = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/proc",
    "/sys/devices/system/cpu",
)


def confine_parser() -> list[str]:
    """Leave the network and the file system, for this process and its children; return what failed.

    Call it before there are threads, and after every file outside of Python's folders was opened.
    """
    if sys.platform != "linux":
        return ["namespaces", "landlock", "seccomp"]
    libc = _libc()
    failed = []
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) != 0:
        failed.append("namespaces")
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if not _restrict_files(libc):
        failed.append("landlock")
    if platform.machine() not in ARCHITECTURES:
        failed.append("seccomp")
    return failed


def confine_file() -> bool:
    """Allow the process of one file only the system calls that reading it takes; return whether it worked."""
    architecture = ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or architecture is None:
        return False
    libc = _libc()
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    instructions = packed(_filter(architecture))
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(code))
    return bool(libc.prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(program), 0, 0) == 0)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _restrict_files(libc: ctypes.CDLL) -> bool:
    """Allow reading what Python and its libraries read, and nothing else."""
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    handled = struct.pack("Q", (1 << RIGHTS.get(version, 15)) - 1)
    ruleset = libc.syscall(CREATE_RULESET, handled, len(handled), 0)
    if ruleset < 0:
        return False
    try:
        for path in _readable():
            _allow(libc, ruleset, path, READ_FILE | READ_DIR if path.is_dir() else READ_FILE)
        _allow(libc, ruleset, Path(os.devnull), READ_FILE | WRITE_FILE)
        return bool(libc.syscall(RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _readable() -> Iterable[Path]:
    # Not the whole root folder, which may hold a database.
    own = [str(ROOT / "inference"), str(ROOT / "persistence")]
    python = [sys.prefix, sys.base_prefix, *(entry for entry in sys.path if entry and Path(entry) != ROOT)]
    return [path for path in map(Path, [*own, *python, *SYSTEM_FILES]) if path.exists()]


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH)
    try:
        libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _filter(architecture: Architecture) -> list[Instruction]:
    """Return the program that judges each system call."""
    return [
        *start(platform.machine()),
        *chain.from_iterable(verdict(EQUALS, number, ALLOW) for number in architecture.calls.values()),
        (EQUALS, 0, 4, architecture.openat),
        (LOAD, 0, 0, ARGUMENTS + 2 * 8),
        *verdict(ANY_BIT, WRITABLE, DENY),
        (RETURN, 0, 0, ALLOW),
        (EQUALS, 0, 3, architecture.clone),
        (LOAD, 0, 0, ARGUMENTS),
        *verdict(ANY_BIT, CLONE_THREAD, ALLOW),
        (RETURN, 0, 0, DENY),
    ]
