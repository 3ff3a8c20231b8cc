"""Programs that judge system calls (seccomp), as the kernel's classic BPF."""

import errno
import struct
from collections.abc import Iterable

Instruction = tuple[int, int, int, int]
"""Operation, instructions to skip if true and if false, operand."""

ALLOW, KILL = 0x7FFF0000, 0x80000000
DENY, MISSING = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

LOAD, EQUALS, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Offsets in the record that a program reads; arguments have 8 bytes each."""

X32 = 0x40000000
"""Set in the numbers of system calls of x86-64's second, rarely used set."""

CLONE3 = 435

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""How the kernel names an architecture, by `platform.machine()`."""


def verdict(test: int, operand: int, answer: int) -> tuple[Instruction, Instruction]:
    """Return the instructions that end with an answer if the loaded value passes a test."""
    return (test, 0, 1, operand), (RETURN, 0, 0, answer)


def start(machine: str) -> tuple[Instruction, ...]:
    """Return the instructions that kill calls of another architecture, and load a call's number."""
    return (
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUALS, 1, 0, AUDIT[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        *verdict(AT_LEAST, X32, DENY),
        *verdict(EQUALS, CLONE3, MISSING),  # the C library then uses clone, whose flags can be read
    )


def packed(instructions: Iterable[Instruction]) -> bytes:
    """Return the bytes of a program."""
    return b"".join(struct.pack("HBBI", *each) for each in instructions)
