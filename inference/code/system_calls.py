"""The system calls that code in a sandbox may not make."""

import base64
import errno
import platform
from itertools import chain

from inference.seccomp import (
    ALLOW,
    ANY_BIT,
    ARGUMENTS,
    DENY,
    EQUALS,
    LOAD,
    MISSING,
    RETURN,
    Instruction,
    packed,
    start,
    verdict,
)

# fmt: off
DENIED = {
    "x86_64": (
        101, 103, 133, 134, 153, 154, 155, 156, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172,
        173, 174, 175, 176, 177, 178, 179, 180, 212, 227, 237, 246, 248, 249, 250, 256, 259, 272, 279, 298,
        300, 303, 304, 305, 308, 310, 311, 312, 313, 320, 321, 323,
    ),
    "aarch64": (
        18, 33, 39, 40, 41, 42, 51, 58, 60, 89, 97, 104, 105, 106, 112, 116, 117, 142, 161, 162, 170, 171,
        217, 218, 219, 224, 225, 235, 238, 239, 241, 262, 264, 265, 266, 268, 270, 271, 272, 273, 280, 282,
        294,
    ),
}
# fmt: on
"""Tracing other processes, mounts, namespaces, devices, keys, modules, clocks, eBPF, performance counters."""

UNBOUNDED = {"x86_64": (29, 64, 68, 319), "aarch64": (194, 190, 186, 279)}
"""System V's shared memory, semaphores and queues, and memfd_create: memory that is no process's."""

NEWEST = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 447)
"""io_uring, the newer calls for mounts, other processes' files and memory: the same on every architecture."""

CLONE, SOCKET, IOCTL = "clone", "socket", "ioctl"
NUMBERS = {"x86_64": {CLONE: 56, SOCKET: 41, IOCTL: 16}, "aarch64": {CLONE: 220, SOCKET: 198, IOCTL: 29}}

NEW_NAMESPACES = 0x7E020080
"""The flags of clone that make namespaces."""

TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX type into somebody's terminal."""

FAMILIES = (1, 2, 10, 16)
"""Sockets of Unix, IPv4, IPv6 and netlink, by which ZeroMQ asks for the network's devices: there are none."""

NO_FAMILY = 0x00050000 | errno.EAFNOSUPPORT


def program() -> bytes | None:
    """Return the program of this machine's architecture; None if there is none."""
    machine = platform.machine()
    if machine not in DENIED:
        return None
    denied = (*DENIED[machine], *NEWEST)
    families = chain.from_iterable(verdict(EQUALS, family, ALLOW) for family in FAMILIES)
    typing = chain.from_iterable(verdict(EQUALS, number, DENY) for number in TERMINAL_INPUT)
    return packed(
        [
            *start(machine),
            *chain.from_iterable(verdict(EQUALS, number, DENY) for number in denied),
            *chain.from_iterable(verdict(EQUALS, number, MISSING) for number in UNBOUNDED[machine]),
            *_argument(NUMBERS[machine][CLONE], 0, verdict(ANY_BIT, NEW_NAMESPACES, DENY)),
            *_argument(NUMBERS[machine][SOCKET], 0, (*families, (RETURN, 0, 0, NO_FAMILY))),
            *_argument(NUMBERS[machine][IOCTL], 1, tuple(typing)),
            (RETURN, 0, 0, ALLOW),
        ]
    )


def encoded() -> str:
    """Return the program in base64, as the bridge takes it; "" if there is none."""
    return base64.b64encode(program() or b"").decode()


def _argument(number: int, position: int, judged: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
    """Return the instructions that judge one argument of a call, and allow the rest of its calls."""
    return (
        (EQUALS, 0, len(judged) + 2, number),
        (LOAD, 0, 0, ARGUMENTS + position * 8),
        *judged,
        (RETURN, 0, 0, ALLOW),
    )
