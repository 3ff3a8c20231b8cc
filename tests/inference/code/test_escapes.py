"""Code in a sandbox reaches nothing outside of it, and cannot use more than it is given."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.code.bubblewrap import Bubblewrap
from inference.code.kernel import Image, Kernel, SandboxLost, Text
from inference.code.limits import MB, Limits
from inference.code.watch import descendants

PYTHON = Path(os.environ.get("ASTROLABE_SANDBOX_PYTHON", ".venvs/sandbox/bin/python")).absolute()

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI") and (shutil.which("bwrap") is None or not PYTHON.exists()),
    reason="needs bubblewrap and `make sandbox`",
)

LIMITS = Limits(memory=400 * MB, disk=32 * MB, scratch=8 * MB, files=600, processes=40, seconds=20)


@pytest.fixture(scope="module")
def driver() -> Bubblewrap:
    return Bubblewrap(PYTHON)


@pytest.fixture
async def kernel(driver: Bubblewrap) -> AsyncIterator[Kernel]:
    started = Kernel(driver, LIMITS, os.getpid() % 1000)
    await started.start()
    yield started
    await started.close()


async def printed(kernel: Kernel, code: str) -> tuple[str, str]:
    """Return how code ended, and all text that it printed."""
    texts: list[str] = []
    status = await kernel.run(code, lambda one: texts.append(one.text if isinstance(one, Text) else ""))
    return status, "".join(texts)


async def test_variables_stay_between_calls(kernel: Kernel) -> None:
    assert await printed(kernel, "x = 6") == ("ok", "")
    assert await printed(kernel, "x * 7") == ("ok", "42\n")


async def test_an_image_is_shown(kernel: Kernel) -> None:
    seen: list[object] = []
    code = "from PIL import Image; Image.new('RGB', (4, 4))"
    assert await kernel.run(code, seen.append) == "ok"
    [image] = seen
    assert isinstance(image, Image)
    assert image.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 1))", "ConnectionRefusedError"),
        ("import socket; socket.create_connection(('10.0.0.1', 53), 2)", "unreachable"),
        ("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "Address family not supported"),
        ("open('/etc/passwd').read()", "FileNotFoundError"),
        ("open('/proc/1/environ').read()", "PermissionError"),
        ("open('/x', 'w')", "Read-only file system"),
        ("open('/dev/x', 'w')", "Read-only file system|Permission denied"),
        ("import os; os.mknod('/mnt/data/d', 0o60600, os.makedev(254, 0))", "Operation not permitted"),
        ("import os; os.setuid(0)", "PermissionError"),
        ("import os; os.chroot('/mnt/data')", "PermissionError"),
        ("import os; os.listdir('/root/.ssh')", "FileNotFoundError"),
    ],
)
async def test_code_cannot(kernel: Kernel, code: str, error: str) -> None:
    status, text = await printed(kernel, code)
    assert status == "error"
    assert any(each in text for each in error.split("|")), text


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
async def test_a_system_call_is_refused(kernel: Kernel, call: str, errno: int) -> None:
    assert await printed(kernel, CALL.format(call=call)) == ("ok", f"-1 {errno}\n")


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


async def test_a_fork_bomb_is_bounded(kernel: Kernel) -> None:
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {bomb!r}], timeout=5)"
    status, text = await printed(kernel, code)
    assert status in ("error", "timeout", "memory")
    assert len(kernel.processes()) <= LIMITS.processes + 1, text
    assert (await printed(kernel, "1"))[0] in ("ok", "died")


async def test_the_disk_is_bounded(kernel: Kernel) -> None:
    code = "f = open('big', 'wb')\nwhile True: f.write(bytes(2**20))"
    status, text = await printed(kernel, code)
    assert status == "error"
    assert "No space left" in text or "File too large" in text
    assert sum(each.size for each in await kernel.files()) <= LIMITS.disk


async def test_many_files_end_the_sandbox(kernel: Kernel) -> None:
    code = "import time\nfor n in range(5000): open(str(n), 'w').close()\ntime.sleep(5)"
    with pytest.raises(SandboxLost, match="too many files"):
        await printed(kernel, code)


async def test_an_endless_loop_is_interrupted(driver: Bubblewrap) -> None:
    kernel = Kernel(driver, Limits(seconds=1.0), 901)
    await kernel.start()
    try:
        status, text = await printed(kernel, "while True: pass")
        assert (status, "KeyboardInterrupt" in text) == ("timeout", True)
        assert await printed(kernel, "1") == ("ok", "1\n")
    finally:
        await kernel.close()


async def test_code_that_ignores_interrupts_is_killed(driver: Bubblewrap) -> None:
    kernel = Kernel(driver, Limits(seconds=1.0), 902)
    await kernel.start()
    try:
        code = "import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass"
        assert (await printed(kernel, code))[0] == "timeout"
        assert await printed(kernel, "1") == ("ok", "1\n")
    finally:
        await kernel.close()


async def test_a_gigabyte_of_output_is_cut(kernel: Kernel) -> None:
    _, text = await printed(kernel, "for _ in range(2000): print('x' * 500_000)")
    assert len(text) == LIMITS.output


async def test_killing_the_bridge_ends_the_sandbox(kernel: Kernel) -> None:
    with pytest.raises(SandboxLost):
        await printed(kernel, "import os, signal; os.kill(os.getppid(), 9); import time; time.sleep(5)")


async def test_code_cannot_speak_for_the_bridge(kernel: Kernel) -> None:
    code = "import os; open(f'/proc/{os.getppid()}/fd/1', 'wb').write(b'\\xff' * 64)"
    status, text = await printed(kernel, code)
    assert (status, "Permission denied" in text) == ("error", True)


async def test_a_link_out_of_the_folder_is_not_read(kernel: Kernel) -> None:
    await printed(kernel, "import os; os.symlink('/run/bridge.py', 'link')")
    assert await kernel.files() == []
    with pytest.raises(OSError, match="symbolic links"):
        [piece async for piece in kernel.read("link")]


async def test_one_sandbox_does_not_see_another(driver: Bubblewrap, kernel: Kernel) -> None:
    other = Kernel(driver, LIMITS, 903)
    await other.start()
    try:
        await printed(other, "open('secret', 'w').write('x')")
        assert await printed(kernel, "import os; os.listdir()") == ("ok", "[]\n")
        assert (await printed(kernel, "len([p for p in os.listdir('/proc') if p.isdigit()]) < 8"))[
            1
        ] == "True\n"
    finally:
        await other.close()


async def test_files_go_in_and_out(kernel: Kernel) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a" * 300_000
        yield b"b"

    await kernel.put("in.txt", pieces())
    assert await printed(kernel, "len(open('in.txt').read())") == ("ok", "300001\n")
    await printed(kernel, "open('out.txt', 'w').write('c' * 600_000)")
    content = b"".join([piece async for piece in kernel.read("out.txt")])
    assert content == b"c" * 600_000
    assert sorted(each.path for each in await kernel.files()) == ["in.txt", "out.txt"]


async def test_nothing_is_left_of_a_closed_sandbox(driver: Bubblewrap) -> None:
    kernel = Kernel(driver, LIMITS, 904)
    await kernel.start()
    await printed(kernel, "import os\nif os.fork() == 0:\n    os.setsid()\n    import time; time.sleep(60)")
    inside = kernel.processes()
    await kernel.close()
    await asyncio.sleep(0)
    assert not [pid for pid in inside if descendants(pid) or Path(f"/proc/{pid}").exists()]
