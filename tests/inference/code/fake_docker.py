"""A container runtime for tests: Docker's command line, held strictly, and bubblewrap behind it.

Its folder (FAKE_DOCKER) has a file for each running container, with the process that runs it.
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

SWITCHES = {"--rm", "--interactive", "--pull=never", "--log-driver=none", "--network=none"}
SWITCHES |= {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--runtime=runsc"}
VALUES = {
    "--name": r"astrolabe-[\w.-]+-\d+-\d+",
    "--label": r"astrolabe\.sandboxes=.+",
    "--hostname": "sandbox",
    "--user": r"[1-9]\d*:[1-9]\d*",
    "--memory": r"\d+",
    "--memory-swap": r"\d+",
    "--pids-limit": r"\d+",
    "--cpus": r"[\d.]+",
    "--cpu-shares": r"\d+",
    "--shm-size": r"\d+",
    "--tmpfs": r"/(mnt/data|tmp):rw,exec,nosuid,nodev,mode=1777,size=\d+",
    "--workdir": "/mnt/data",
    "--env": r"\w+=.*",
}
STATE = Path(os.environ["FAKE_DOCKER"])
ENVIRONMENT = str(Path(os.environ["FAKE_PYTHON"]).parents[1].resolve())
"""The folder of the sandbox's Python, which may be below /tmp."""


def fail(reason: str) -> None:
    print(f"docker: {reason}", file=sys.stderr)
    raise SystemExit(125)


def main() -> None:
    match sys.argv[1:]:
        case ["run", *arguments]:
            run(arguments)
        case ["rm", "--force", *names]:
            for name in names:
                remove(name)
        case ["ps", "--all", label, "--format={{.Names}}"] if label.startswith("--filter=label="):
            print("\n".join(path.name for path in STATE.iterdir()))
        case other:
            fail(f"unknown command {other}")


def run(arguments: list[str]) -> None:
    options: dict[str, list[str]] = {}
    while arguments and arguments[0].startswith("--"):
        name, _, value = (option := arguments.pop(0)).partition("=")
        if option not in SWITCHES and not re.fullmatch(VALUES.get(name, "(?!)"), value):
            fail(f"unknown flag {option}")
        options.setdefault(option if option in SWITCHES else name, []).append(value)
    if lacking := ((SWITCHES - {"--runtime=runsc"}) | set(VALUES)) - set(options):
        fail(f"{lacking} is missing")
    image, *command = arguments
    if image != "sandbox-image":
        fail(f"Unable to find image '{image}' locally")
    if command[:3] != ["python3", "-I", "-c"]:
        fail(f"unexpected command {command[:3]}")
    contain(options["--name"][0], options["--env"], command[1:])


def contain(name: str, environment: list[str], arguments: list[str]) -> None:
    command = [
        *(
            "bwrap",
            "--unshare-user",
            "--uid",
            "65532",
            "--gid",
            "65532",
            "--unshare-pid",
            "--as-pid-1",
            "--unshare-net",
        ),
        *("--new-session", "--die-with-parent", "--clearenv", "--ro-bind", "/", "/", "--proc", "/proc"),
        *(
            "--dev",
            "/dev",
            "--tmpfs",
            "/tmp",
            *("--ro-bind", ENVIRONMENT, ENVIRONMENT),
            "--tmpfs",
            "/mnt",
            "--dir",
            "/mnt/data",
            "--chdir",
            "/mnt/data",
        ),
        *(part for each in environment for part in ("--setenv", *each.split("=", 1))),
        *("--", os.environ["FAKE_PYTHON"], *arguments),
    ]
    process = subprocess.Popen(command)
    (STATE / name).write_text(str(process.pid))
    code = process.wait()
    (STATE / name).unlink(missing_ok=True)
    raise SystemExit(code)


def remove(name: str) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((STATE / name).read_text()), signal.SIGKILL)
    (STATE / name).unlink(missing_ok=True)


main()
