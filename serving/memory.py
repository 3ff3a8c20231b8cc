"""How the process returns memory to the system."""

import contextlib
import ctypes

M_MMAP_THRESHOLD = -3
"""Option of glibc's mallopt(3)."""

LARGE = 1 << 20
"""Bytes from which on a block is allocated by itself, and returned to the system once it is free."""


def return_large_blocks() -> None:
    """Have glibc return large blocks when they are freed; other C libraries do so, or have no such option.

    By default glibc raises its threshold to 32 MB as blocks are freed: bodies of many megabytes then stay
    with the worker for ever.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
