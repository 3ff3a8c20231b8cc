"""What the parser process and its children cannot do, tried in processes of their own."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inference.parsing.confinement import AARCH64, ARCHITECTURES, X86_64
from inference.subprocesses import PYTHON_PATH
from tests.fixtures.required import requires
from tests.server import ROOT

pytestmark = requires(sys.platform == "linux", "confinement is Linux's")

PARSER = """
import os, socket, sys
from inference.parsing.confinement import confine_file, confine_parser
print(confine_parser())
def fails(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return type(error).__name__
    return "allowed"
"""
CHILD = PARSER + "print(confine_file())\n"


OLDER = {
    "stat": "newfstatat",
    "lstat": "newfstatat",
    "poll": "ppoll",
    "access": "faccessat",
    "dup2": "dup3",
    "readlink": "readlinkat",
}
"""Calls that only x86-64 has, and what aarch64 has instead."""

TABLE = Path("/usr/include/asm-generic/unistd.h")
"""The numbers of system calls that new architectures share."""


def attempt(script: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=PYTHON_PATH,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_parser_reaches_no_network_and_no_file_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "astrolabe.db").write_text("secret")
    script = (
        PARSER
        + f"""
print(fails(open, sys.argv[1] + "/astrolabe.db"), fails(open, sys.argv[1] + "/new", "w"))
print(fails(open, f"/proc/{{os.getppid()}}/environ"), fails(open, "{ROOT}/README.md"))
print(fails(socket.create_connection, ("127.0.0.1", 9)), os.getuid() == 65534)
"""
    )
    confined, *outcomes = attempt(script, tmp_path)
    if confined != "[]":
        pytest.skip(f"this system does not allow {confined}")
    assert outcomes == ["PermissionError PermissionError", "PermissionError PermissionError", "OSError True"]


@requires(platform.machine() in ARCHITECTURES, "the filter is for x86-64 and aarch64")
@pytest.mark.parametrize(
    "call",
    [
        "socket.socket",
        "os.fork",
        "os.execv, '/bin/true', ['true']",
        "os.kill, 1, 0",
        "os.open, '/dev/null', os.O_WRONLY",
        "os.open, '/dev/null', os.O_TRUNC",
    ],
)
def test_the_process_of_a_file_may_only_read_and_compute(call: str, tmp_path: Path) -> None:
    assert attempt(CHILD + f"print(fails({call}))", tmp_path)[1:] == ["True", "PermissionError"]


@requires(platform.machine() in ARCHITECTURES, "the filter is for x86-64 and aarch64")
def test_the_process_of_a_file_may_start_threads_and_import_modules(tmp_path: Path) -> None:
    script = (
        CHILD
        + """
import threading, zoneinfo
thread = threading.Thread(target=print, args=("started",))
thread.start()
thread.join()
"""
    )
    assert attempt(script, tmp_path)[1:] == ["True", "started"]


def test_both_filters_allow_the_same_calls() -> None:
    assert {OLDER.get(name, name) for name in X86_64.calls} == AARCH64.calls.keys()


@requires(TABLE.exists(), "the kernel's headers are not installed")
def test_the_numbers_of_aarch64_are_the_kernels() -> None:
    defined = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", TABLE.read_text())
    numbers = {"newfstatat" if name == "fstatat" else name: int(number) for name, number in defined}
    judged = {"openat": AARCH64.openat, "clone": AARCH64.clone}
    assert {name: numbers[name] for name in (*AARCH64.calls, *judged)} == {**AARCH64.calls, **judged}
