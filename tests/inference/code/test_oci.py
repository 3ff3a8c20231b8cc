"""A sandbox is a container of an OCI runtime: Docker's own parser takes its command, and leftovers go."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inference.code.driver import SandboxUnavailable
from inference.code.limits import GB, MB, Limits
from inference.code.oci import OCIRuntime
from tests.fixtures.sandboxes import PYTHON, needs_sandbox
from tests.inference.code.conftest import StartKernel
from tests.server import until

FAKE = Path(__file__).with_name("fake_docker.py")


def fake_runtime(
    folder: Path, monkeypatch: pytest.MonkeyPatch, image: str = "sandbox-image", options: str = ""
) -> OCIRuntime:
    """Return a driver whose `docker` is the fake one, with its state in `folder/containers`."""
    (state := folder / "containers").mkdir()
    (commands := folder / "bin").mkdir()
    (commands / "docker").write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    (commands / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DOCKER", str(state))
    monkeypatch.setenv("FAKE_PYTHON", str(PYTHON))
    return OCIRuntime(f"docker{options}", image)


def test_a_command_that_is_not_there_is_named() -> None:
    assert OCIRuntime("dokcer", "x").missing() == "ASTROLABE_SANDBOX=dokcer: there is no command dokcer"


@needs_sandbox
def test_an_image_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SandboxUnavailable, match=r"docker cannot run other: .*Unable to find image 'other'"):
        fake_runtime(tmp_path, monkeypatch, "other").try_out()


@needs_sandbox
def test_the_trial_removes_containers_of_dead_workers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = fake_runtime(tmp_path, monkeypatch, options=" --runtime=runsc")
    dead = subprocess.Popen(["true"])
    dead.wait()
    own, left = (f"astrolabe-{socket.gethostname()}-{pid}-7" for pid in (os.getpid(), dead.pid))
    for name in (own, left):
        (tmp_path / "containers" / name).write_text(str(dead.pid))
    driver.try_out()
    assert [path.name for path in (tmp_path / "containers").iterdir()] == [own]


@needs_sandbox
async def test_a_closed_sandbox_leaves_no_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_kernel: StartKernel
) -> None:
    kernel = await start_kernel(driver=fake_runtime(tmp_path, monkeypatch))
    [container] = (tmp_path / "containers").iterdir()
    pid = int(container.read_text())
    await kernel.close()
    assert list((tmp_path / "containers").iterdir()) == []
    until(lambda: not Path(f"/proc/{pid}").exists(), seconds=10)


@pytest.mark.skipif(shutil.which("docker") is None, reason="Docker's command line is not installed")
def test_dockers_own_parser_takes_the_command() -> None:
    command = OCIRuntime("docker --runtime=runsc", "image").command(Limits(memory=4 * GB, disk=MB), 1)
    run = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": "/", "DOCKER_HOST": "tcp://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "connect" in run.stderr
    assert "unknown flag" not in run.stderr
