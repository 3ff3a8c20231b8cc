"""Code in a sandbox reaches nothing outside of it, and cannot use more than it is given."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from inference.code.kernel import Kernel, SandboxLost
from tests.fixtures.sandboxes import LIMITS, OUT_OF_REACH, bubblewrap, needs_sandbox, printed
from tests.inference.code.conftest import StartKernel, numbers

pytestmark = needs_sandbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Kernel]:
    """A kernel for code that changes nothing."""
    kernel = Kernel(bubblewrap(), LIMITS, next(numbers))
    await kernel.start()
    yield kernel
    await kernel.close()


@pytest.mark.parametrize(("code", "error"), OUT_OF_REACH)
@pytest.mark.asyncio(loop_scope="module")
async def test_code_cannot(shared: Kernel, code: str, error: str) -> None:
    status, text = await printed(shared, code)
    assert status == "error"
    assert any(each in text for each in error.split("|")), text


@pytest.mark.asyncio(loop_scope="module")
async def test_code_has_no_privileges_and_gets_none(shared: Kernel) -> None:
    code = "print(*(line for line in open('/proc/self/status')), sep='')"
    status = dict(
        line.split(":\t") for line in (await printed(shared, code))[1].splitlines() if ":\t" in line
    )
    assert {
        name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "NoNewPrivs", "Seccomp")
    } == {
        "CapEff": 0,
        "CapPrm": 0,
        "CapInh": 0,
        "NoNewPrivs": 1,
        "Seccomp": 2,
    }


CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.{call}, ctypes.get_errno())
"""


@pytest.mark.parametrize(
    ("call", "errno"),
    [
        ("ptrace(16, 1, 0, 0)", 1),
        ("mount(b'none', b'/mnt/data', b'tmpfs', 0, None)", 1),
        ("unshare(0x10000000)", 1),
        ("syscall(425, 8, None)", 1),  # io_uring_setup
        ("memfd_create(b'x', 0)", 38),
        ("shmget(0, 4096, 0o1600)", 38),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_system_call_is_refused(shared: Kernel, call: str, errno: int) -> None:
    assert await printed(shared, CALL.format(call=call)) == ("ok", f"-1 {errno}\n")


async def test_a_memory_bomb_ends_its_kernel_only(kernel: Kernel) -> None:
    await printed(kernel, "open('kept', 'w').write('yes')")
    status, _ = await printed(kernel, "x = [bytearray(2**20) for _ in range(2000)]")
    assert status in ("memory", "error")  # by the watch, or by the bound on address space
    assert await printed(kernel, "open('kept').read()") == ("ok", "'yes'\n")


async def test_memory_of_many_processes_is_bounded_together(kernel: Kernel) -> None:
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(100 * 2**20)
        time.sleep(30)
        os._exit(0)
time.sleep(15)
"""
    started = time.monotonic()
    assert (await printed(kernel, code))[0] == "memory"
    assert time.monotonic() - started < 10
    assert await printed(kernel, "1") == ("ok", "1\n")


@pytest.mark.parametrize("sessions", ["", "os.setsid();"])
async def test_a_fork_bomb_is_ended(kernel: Kernel, sessions: str) -> None:
    bomb = f"import os\nwhile True:\n  try: os.fork(); {sessions}\n  except OSError: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {bomb!r}], timeout=15)"
    started = time.monotonic()
    assert (await printed(kernel, code))[0] == "processes"
    assert time.monotonic() - started < 15
    assert len(kernel.processes()) < 10
    assert await printed(kernel, "1") == ("ok", "1\n")


async def test_the_disk_is_bounded(kernel: Kernel) -> None:
    code = "f = open('big', 'wb')\nwhile True: f.write(bytes(2**20))"
    status, text = await printed(kernel, code)
    assert status == "error"
    assert "No space left" in text or "File too large" in text
    assert sum(each.size for each in await kernel.files()) <= LIMITS.disk


@pytest.mark.parametrize("seconds", [0, 5])
async def test_many_files_end_the_sandbox(kernel: Kernel, seconds: int) -> None:
    code = f"import time\nfor n in range(1000): open(str(n), 'w').close()\ntime.sleep({seconds})"
    with pytest.raises(SandboxLost, match="too many files"):
        await printed(kernel, code)


async def test_code_cannot_speak_for_the_bridge(kernel: Kernel) -> None:
    code = "import os; open(f'/proc/{os.getppid()}/fd/1', 'wb').write(b'\\xff' * 64)"
    status, text = await printed(kernel, code)
    assert (status, "Permission denied" in text) == ("error", True)


async def test_a_link_out_of_the_folder_is_not_read(kernel: Kernel) -> None:
    await printed(kernel, "import os; os.symlink('/run/bridge.py', 'link')")
    assert await kernel.files() == []
    with pytest.raises(OSError, match="symbolic links"):
        [piece async for piece in kernel.read("link")]


async def test_one_sandbox_does_not_see_another(kernel: Kernel, start_kernel: StartKernel) -> None:
    other = await start_kernel()
    await printed(other, "open('secret', 'w').write('x')")
    assert await printed(kernel, "import os; os.listdir()") == ("ok", "[]\n")
    assert await printed(kernel, "len([p for p in os.listdir('/proc') if p.isdigit()]) < 8") == (
        "ok",
        "True\n",
    )
