"""Code that harms its own kernel: later calls in the same sandbox run, or it ends at once."""

import os

import pytest

from inference.code.bridge import NICE
from inference.code.bubblewrap import Bubblewrap
from inference.code.kernel import Kernel, SandboxLost
from inference.code.limits import Limits
from tests.fixtures.sandboxes import PYTHON, needs_sandbox, printed
from tests.inference.code.conftest import StartKernel

pytestmark = needs_sandbox


@pytest.mark.parametrize("code", ["exit()", "quit()", "import sys; sys.exit(3)", "raise SystemExit"])
async def test_leaving_python_keeps_the_variables(kernel: Kernel, code: str) -> None:
    await printed(kernel, "x = 1")
    await printed(kernel, code)
    await printed(kernel, "import time; time.sleep(0.5)")
    assert await printed(kernel, "x") == ("ok", "1\n")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"text/plain": 5}, "5\n"),
        ({"text/plain": ["a"]}, "['a']\n"),
        ({"image/png": 5, "text/plain": "no image"}, "no image\n"),
        ({"image/png": "a"}, ""),
        ({"image/jpeg": {}}, ""),
    ],
)
async def test_what_is_no_image_or_text_stops_nothing(kernel: Kernel, data: object, shown: str) -> None:
    assert await printed(kernel, f"display({data!r}, raw=True)") == ("ok", shown)
    assert await printed(kernel, "1") == ("ok", "1\n")


@pytest.mark.parametrize(
    "harm",
    [
        "os.remove('/tmp/kernel.json'); os.mkdir('/tmp/kernel.json')",
        "os.system('dd if=/dev/zero of=/tmp/full bs=64k 2>/dev/null; sync')",
        "os.system('rm -rf /tmp/*')",
    ],
)
async def test_a_kernel_that_cannot_start_again_ends_the_sandbox(kernel: Kernel, harm: str) -> None:
    await printed(kernel, f"import os; {harm}")
    try:
        assert await printed(kernel, "os._exit(1)") == ("died", "")
        assert await printed(kernel, "1") == ("ok", "1\n")
    except SandboxLost:
        assert not kernel.is_alive


async def test_code_stays_the_first_that_linux_kills_when_memory_runs_out(kernel: Kernel) -> None:
    code = (
        "import os, time\nif pid := os.fork(): os.waitpid(pid, 0)\nelse:\n"
        "    try: open('/proc/self/oom_score_adj', 'w').write('0')\n    except OSError: pass\n"
        "    time.sleep(1)\n    print(open('/proc/self/oom_score_adj').read(), flush=True)\n    os._exit(0)"
    )
    status, text = await printed(kernel, code)
    assert (status, text.strip()) == ("ok", "1000")


async def test_files_that_cannot_be_reached_do_not_hide_the_others(kernel: Kernel) -> None:
    code = (
        "import os\nopen('seen', 'w')\nos.mkdir('locked')\nopen('locked/file', 'w')\nos.chmod('locked', 0o400)\n"
        "for _ in range(30):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\nopen('f' * 200, 'w')"
    )
    assert (await printed(kernel, code))[0] == "ok"
    assert [file.path for file in await kernel.files()] == ["seen"]


async def test_code_cannot_hide_that_it_changed_a_file(kernel: Kernel) -> None:
    await printed(kernel, "open('f', 'w').write('old'); import os; before = os.stat('f')")
    [first] = await kernel.files()
    code = "open('f', 'w').write('new'); os.utime('f', ns=(before.st_atime_ns, before.st_mtime_ns))"
    await printed(kernel, code)
    [second] = await kernel.files()
    assert first != second


async def test_a_server_of_low_priority_starts_sandboxes(start_kernel: StartKernel) -> None:
    class OfLowPriority(Bubblewrap):
        def command(self, limits: Limits, number: int) -> list[str]:
            return ["nice", "-n", "10", *super().command(limits, number)]

    kernel = await start_kernel(driver=OfLowPriority(PYTHON))
    priority = min(19, os.nice(0) + 10 + NICE)
    assert await printed(kernel, "import os; os.nice(0)") == ("ok", f"{priority}\n")
