"""A worker knows why it can have no sandbox, bounds those that it has, and takes them with it when it dies."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inference.code.bubblewrap import Bubblewrap
from inference.code.driver import SandboxUnavailable
from inference.code.limits import GB
from inference.code.sandboxes import Sandboxes, memory_of_machine
from inference.code.watch import descendants
from inference.subprocesses import ROOT
from tests.fixtures.required import requires
from tests.fixtures.sandboxes import LIMITS, PYTHON, NeverStarted, bubblewrap, needs_sandbox, printed
from tests.server import until

WORKER = """
import asyncio, sys
from inference.code.sandboxes import Sandboxes
from tests.fixtures.sandboxes import LIMITS, OUT_OF_REACH, bubblewrap, printed

async def main():
    sandboxes = Sandboxes(bubblewrap(), limits=LIMITS)
    print(await sandboxes.check(), flush=True)
    kernel = await sandboxes.start()
    for code, error in OUT_OF_REACH:
        status, text = await printed(kernel, code)
        if status != "error" or not any(each in text for each in error.split("|")):
            print(code, status, text)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.fixture
def worker() -> subprocess.Popen[str]:
    return started([sys.executable, "-c", WORKER])


async def test_without_a_driver_the_reason_is_the_setting() -> None:
    sandboxes = Sandboxes(None)
    assert await sandboxes.check() == "ASTROLABE_SANDBOX is none"
    with pytest.raises(SandboxUnavailable, match="ASTROLABE_SANDBOX is none"):
        await sandboxes.start()


async def test_what_is_missing_is_known_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Sandboxes(Bubblewrap(PYTHON)).summary() == "off: bwrap is missing: install the package bubblewrap"
    (tmp_path / "bwrap").symlink_to("/bin/false")
    (tmp_path / "bwrap").chmod(0o755)
    assert "run `make sandbox`" in Sandboxes(Bubblewrap(tmp_path / "python")).summary()


@needs_sandbox
async def test_isolation_that_fails_is_known_after_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bwrap").write_text(
        "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1"
    )
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sandboxes = Sandboxes(bubblewrap())
    assert sandboxes.problem is None
    reason = "bwrap cannot isolate a process here: bwrap: setting up uid map: Permission denied"
    assert await asyncio.gather(sandboxes.check(), sandboxes.check()) == [reason, reason]
    assert sandboxes.summary() == f"off: {reason}"
    with pytest.raises(SandboxUnavailable, match="uid map"):
        await sandboxes.start()


class Installed(NeverStarted):
    """A driver whose Python, and then its packages, are installed while the server runs."""

    def __init__(self, absent: str | None, fault: str | None) -> None:
        self.absent, self.fault, self.trials = absent, fault, 0

    def missing(self) -> str | None:  # type: ignore[override]
        return self.absent

    def try_out(self) -> None:
        self.trials += 1
        if self.fault is not None:
            raise SandboxUnavailable(self.fault)


async def test_what_is_installed_after_the_start_is_found_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Installed("no python: run `make sandbox`", "no ipykernel: run `make sandbox`")
    sandboxes = Sandboxes(driver)
    assert await sandboxes.check() == "no python: run `make sandbox`"
    driver.absent = None
    assert await sandboxes.check() == "no ipykernel: run `make sandbox`"
    driver.fault = None
    assert await sandboxes.check() == "no ipykernel: run `make sandbox`"  # no trial for each request
    monkeypatch.setattr("inference.code.sandboxes.TRIAL_PAUSE", 0.0)
    sandboxes._next_trial = 0.0
    assert [await sandboxes.check(), await sandboxes.check()] == [None, None]
    assert driver.trials == 2
    assert sandboxes.summary() == "in sandboxes by test"


async def test_memory_is_bounded_by_the_operator_or_the_machine() -> None:
    assert list(Sandboxes(None, largest=4 * GB).tiers) == ["1g", "4g"]
    assert max(Sandboxes(None).tiers.values(), default=0) <= memory_of_machine() // 2


@needs_sandbox
async def test_each_sandbox_of_a_machine_has_a_number_of_its_own() -> None:
    sandboxes = Sandboxes(bubblewrap(), limits=LIMITS, largest=GB)
    with pytest.raises(SandboxUnavailable, match="memory_limit 64g is too much: 1g is allowed here"):
        await sandboxes.start("64g")
    kernels = [await sandboxes.start(), await sandboxes.start()]
    users = {(await printed(kernel, "import os; os.getuid()"))[1] for kernel in kernels}
    assert len(users) == (2 if os.geteuid() == 0 else 1)
    await asyncio.gather(*(kernel.close() for kernel in kernels))


@needs_sandbox
def test_sandboxes_die_with_their_worker(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert [worker.stdout.readline() for _ in range(2)] == ["None\n", "ready\n"]
    inside = descendants(worker.pid)
    assert len(inside) >= 3
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    until(lambda: not [pid for pid in inside if Path(f"/proc/{pid}").exists()], seconds=10)


@needs_sandbox
@requires(os.geteuid() == 0 and shutil.which("setpriv"), "needs root, to become another user")
def test_a_user_without_privileges_has_sandboxes_too() -> None:
    # Python may be installed in root's own folder, which others cannot enter: show it in an open one.
    open_home = ["bwrap", "--cap-add", "ALL", "--dev-bind", "/", "/", "--perms", "0755", "--tmpfs", "/root"]
    python = [
        part
        for folder in reversed(Path(sys.base_prefix).parents)
        for part in ("--perms", "0755", "--dir", str(folder))
    ]
    python += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*open_home, *python, *as_nobody, sys.executable, "-c", WORKER]
    worker = started(command)
    assert worker.stdout is not None
    try:
        assert [worker.stdout.readline() for _ in range(2)] == ["None\n", "ready\n"]
        inside = descendants(worker.pid)
    finally:
        worker.communicate()
    until(lambda: not [pid for pid in inside if Path(f"/proc/{pid}").exists()], seconds=10)
