"""A kernel runs code and keeps files, whatever isolates it, and survives what the code does."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.code.driver import Driver
from inference.code.kernel import CUT_OFF, Kernel, SandboxLost
from inference.code.limits import Limits
from inference.code.outputs import Image, Text
from inference.code.watch import descendants
from tests.fixtures.sandboxes import LIMITS, bubblewrap, needs_sandbox, printed
from tests.inference.code.conftest import StartKernel
from tests.inference.code.test_oci import fake_runtime

pytestmark = needs_sandbox


@pytest.fixture(params=["bubblewrap", "oci"])
def driver(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    return bubblewrap() if request.param == "bubblewrap" else fake_runtime(tmp_path, monkeypatch)


@pytest.fixture
async def kernel(start_kernel: StartKernel, driver: Driver) -> Kernel:
    return await start_kernel(driver=driver)


async def test_a_sandbox_whose_bridge_hangs_is_ended_long_before_the_codes_time(
    start_kernel: StartKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.code.kernel.SILENT_LOOKS", 2)
    monkeypatch.setattr("inference.code.kernel.LOST_LOOKS", 10)
    kernel = await start_kernel(driver=bubblewrap())

    def stop(_: object) -> None:
        os.kill(kernel.processes()[0], signal.SIGSTOP)

    with pytest.raises(SandboxLost, match="the sandbox ended"):
        await asyncio.wait_for(kernel.run("import time\nprint('begun')\ntime.sleep(60)", stop), 15)
    assert not kernel.is_alive


async def test_code_that_shows_nothing_for_long_is_left_alone(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.code.kernel.SILENT_LOOKS", 2)
    monkeypatch.setattr("inference.code.kernel.LOST_LOOKS", 10)
    assert await printed(kernel, "import time\ntime.sleep(5)\nx = 1") == ("ok", "")
    assert await kernel.files() == []
    assert await printed(kernel, "x") == ("ok", "1\n")


async def test_variables_stay_between_calls_and_files_go_in_and_out(kernel: Kernel) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a" * 300_000
        yield b"b"

    assert await printed(kernel, "x = 6") == ("ok", "")
    assert await printed(kernel, "x * 7") == ("ok", "42\n")
    await kernel.put("folder/in.txt", pieces())
    assert await printed(kernel, "len(open('folder/in.txt').read())") == ("ok", "300001\n")
    await printed(kernel, "open('out.txt', 'w').write('c' * 600_000)")
    content = b"".join([piece async for piece in kernel.read("out.txt")])
    assert content == b"c" * 600_000
    assert sorted(each.path for each in await kernel.files()) == ["folder/in.txt", "out.txt"]
    await kernel.delete("out.txt")
    with pytest.raises(OSError, match="No such file"):
        [piece async for piece in kernel.read("out.txt")]


async def test_an_image_and_an_error_are_shown(kernel: Kernel) -> None:
    seen: list[object] = []
    code = "from PIL import Image; display(Image.new('RGB', (4, 4))); raise ValueError('no')"
    assert await kernel.run(code, seen.append) == "error"
    image, error = seen
    assert isinstance(image, Image)
    assert image.content.startswith(b"\x89PNG")
    assert isinstance(error, Text)
    assert (error.is_error, error.text.strip().endswith("ValueError: no")) == (True, True)


async def test_an_endless_loop_is_interrupted(start_kernel: StartKernel, driver: Driver) -> None:
    kernel = await start_kernel(Limits(seconds=1.0), driver)
    await printed(kernel, "x = 1")
    status, text = await printed(kernel, "while True: pass")
    assert (status, "KeyboardInterrupt" in text) == ("timeout", True)
    assert await printed(kernel, "x") == ("ok", "1\n")


async def test_code_that_ignores_interrupts_is_killed(
    start_kernel: StartKernel, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.code.kernel.INTERRUPT_SECONDS", 1.0)
    kernel = await start_kernel(Limits(seconds=1.0), driver)
    await printed(kernel, "open('kept', 'w').write('yes')")
    code = "import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass"
    assert (await printed(kernel, code))[0] == "killed"
    assert await printed(kernel, "open('kept').read()") == ("ok", "'yes'\n")


async def test_a_cancelled_call_is_interrupted_and_the_next_one_runs(kernel: Kernel) -> None:
    await printed(kernel, "x = 1")
    running = asyncio.create_task(printed(kernel, "import time; time.sleep(15)"))
    await asyncio.sleep(0.5)
    running.cancel()
    started = time.monotonic()
    assert await printed(kernel, "x") == ("ok", "1\n")
    assert time.monotonic() - started < 10


async def test_a_kernel_that_ends_is_started_again(kernel: Kernel) -> None:
    assert await printed(kernel, "import os; os._exit(3)") == ("died", "")
    assert await printed(kernel, "1") == ("ok", "1\n")


async def test_a_gigabyte_of_output_is_cut_off(kernel: Kernel) -> None:
    status, text = await printed(kernel, "for _ in range(2000): print('é' * 500_000)")
    assert (status, len(text)) == ("ok", LIMITS.output + len(CUT_OFF))
    code = "import os\nfor _ in range(100): _ = os.write(1, b'x' * 10**6)\nraise ValueError('seen')"
    status, text = await printed(kernel, code)
    assert (status, text.endswith("ValueError: seen\n")) == ("error", True)
    assert await printed(kernel, "1") == ("ok", "1\n")


async def test_code_can_neither_kill_nor_stop_the_bridge(kernel: Kernel) -> None:
    code = "import os, signal\nfor name in ('KILL', 'STOP', 'INT', 'TERM'): os.kill(1, signal.Signals['SIG' + name])"
    assert await printed(kernel, f"{code}\nprint(os.getppid())") == ("ok", "1\n")
    assert await printed(kernel, "import os; os.kill(os.getpid(), 9)") == ("died", "")
    assert await printed(kernel, "1") == ("ok", "1\n")


async def test_orphans_are_collected(kernel: Kernel) -> None:
    code = "import subprocess, time; subprocess.run(['sh', '-c', 'sleep 0.1 & exit']); time.sleep(0.5)"
    await printed(kernel, code)
    count = "import os; len([name for name in os.listdir('/proc') if name.isdigit()])"
    assert await printed(kernel, count) == ("ok", "2\n")


async def test_nothing_is_left_of_a_closed_sandbox(start_kernel: StartKernel) -> None:
    kernel = await start_kernel()
    await printed(kernel, "import os\nif os.fork() == 0:\n    os.setsid()\n    import time; time.sleep(60)")
    inside = kernel.processes()
    assert len(inside) >= 3
    await kernel.close()
    assert not [pid for pid in inside if descendants(pid) or Path(f"/proc/{pid}").exists()]


async def test_an_idle_sandbox_takes_no_cpu_time(start_kernel: StartKernel) -> None:
    kernel = await start_kernel()
    code = "import threading\ndef spin():\n  while True: pass\nthreading.Thread(target=spin, daemon=True).start()"
    await printed(kernel, code)
    before = cpu_ticks(kernel)
    await asyncio.sleep(1)
    assert cpu_ticks(kernel) - before <= 2
    assert await printed(kernel, "1") == ("ok", "1\n")


def cpu_ticks(kernel: Kernel) -> int:
    """CPU time of all processes in a sandbox, in hundredths of a second."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in kernel.processes()]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats)
