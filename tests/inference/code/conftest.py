import os
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

import pytest

from inference.code.driver import Driver
from inference.code.kernel import Kernel
from inference.code.limits import Limits
from tests.fixtures.sandboxes import LIMITS, bubblewrap

numbers = count(100_000 + 100 * os.getpid())
"""Of no other process of the tests: processes of a user count together."""

StartKernel = Callable[..., Awaitable[Kernel]]


@pytest.fixture
async def start_kernel() -> AsyncIterator[StartKernel]:
    """Return what starts a kernel by a driver with limits, and closes it after the test."""
    started: list[Kernel] = []

    async def start(limits: Limits = LIMITS, driver: Driver | None = None) -> Kernel:
        kernel = Kernel(driver or bubblewrap(), limits, next(numbers))
        await kernel.start()
        started.append(kernel)
        return kernel

    yield start
    for kernel in started:
        await kernel.close()


@pytest.fixture
async def kernel(start_kernel: StartKernel) -> Kernel:
    return await start_kernel()
