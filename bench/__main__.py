"""The command: `python -m bench`."""

import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from bench.catalogue import BENCHES, Bench
from bench.figures import Figure, cells, table
from bench.load import BenchFailed
from bench.rig import Rig
from serving.tools import SANDBOX_PYTHON

OPEN_FILES = 16_384

NEEDS = {
    "cassandra": "--cassandra names no node",
    "litellm": "LiteLLM's proxy is not installed here; --litellm takes its command",
    "data sets": "--beir names no folder",
    "sandbox": "bubblewrap is missing, or make sandbox was not run",
}
"""Why a bench is skipped, by what it needs."""


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Run this bench; may be given several times.")
@click.option("--list", "listing", is_flag=True, help="Name the benches and end.")
@click.option("--quick", is_flag=True, help="Fewer rounds and smaller data: for a glance, not for a record.")
@click.option(
    "--json",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("build/bench.json"),
    show_default=True,
    help="Where the figures are written.",
)
@click.option(
    "--cassandra",
    metavar="cassandra://HOST[:PORT]",
    help="A running node to measure as well, in keyspaces that are dropped afterwards.",
)
@click.option(
    "--litellm",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PATH",
    help="The `litellm` command of an environment with litellm[proxy], to measure next to it.",
)
@click.option(
    "--beir",
    "data_sets",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="A data set in BEIR's format to measure retrieval on; may be given several times.",
)
def main(
    only: tuple[str, ...],
    listing: bool,
    quick: bool,
    output: Path,
    cassandra: str | None,
    litellm: Path | None,
    data_sets: tuple[Path, ...],
) -> None:
    """Measure Astrolabe next to what a user would choose instead.

    Prints one table of every figure, its peer in the same run, and the bar it has to reach. Ends
    with status 1 if a figure could not be measured; a missed bar is marked, and no failure.
    """
    if listing:
        for bench in BENCHES:
            click.echo(f"{bench.name:20} {bench.about}")
        return
    has_sandbox = shutil.which("bwrap") and SANDBOX_PYTHON.exists()
    options = {"cassandra": cassandra, "litellm": litellm, "data sets": data_sets, "sandbox": has_sandbox}
    chosen = choose(only, {"", *(need for need, value in options.items() if value)})
    for bench in choose(only, set(options)):
        if bench not in chosen:
            click.echo(f"{bench.name}: skipped: {NEEDS[bench.needs]}", err=True)
    raise_open_files()
    with tempfile.TemporaryDirectory(prefix="astrolabe-bench-", dir=scratch()) as folder:
        rig = Rig(
            Path(folder),
            quick,
            lambda line: click.echo(f"    {line}", err=True),
            cassandra,
            litellm,
            data_sets,
        )
        figures, failures = run(chosen, rig)
    click.echo(table(figures))
    for name, reason in failures.items():
        click.echo(f"{name}: not measured: {reason}")
    write(output, figures, failures, quick=quick)
    sys.exit(1 if failures else 0)


def choose(only: Sequence[str], given: set[str]) -> list[Bench]:
    """Return the requested benches, without those whose node or data is not given."""
    names = {bench.name for bench in BENCHES}
    unknown = sorted(set(only) - names)
    if unknown:
        raise click.BadParameter(
            f"no bench is named {', '.join(unknown)}; there are {', '.join(sorted(names))}"
        )
    return [bench for bench in BENCHES if (not only or bench.name in only) and bench.needs in given]


def run(benches: Sequence[Bench], rig: Rig) -> tuple[list[Figure], dict[str, str]]:
    """Run each bench and show every figure at once; a bench that fails does not stop the others."""
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    for place, bench in enumerate(benches, 1):
        click.echo(f"[{place}/{len(benches)}] {bench.name}: {bench.about}", err=True)
        began = time.monotonic()
        try:
            for figure in bench.measure(rig):
                figures.append(figure)
                rig.say("  ".join(cell for cell in cells(figure) if cell))
        except BenchFailed as exc:
            failures[bench.name] = str(exc)
        except Exception as exc:  # the outermost edge: the other figures are wanted all the same
            lines = str(exc).splitlines() or [""]
            failures[bench.name] = " … ".join([f"{type(exc).__name__}: {lines[0]}", *lines[1:][-1:]])
        if bench.name in failures:
            rig.say(f"failed: {failures[bench.name]}")
        rig.say(f"{time.monotonic() - began:.0f} s")
    return figures, failures


def write(output: Path, figures: Sequence[Figure], failures: dict[str, str], *, quick: bool) -> None:
    """Write the figures and the machine they were measured on."""
    output.parent.mkdir(parents=True, exist_ok=True)
    value = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": {
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "figures": [figure.as_json() for figure in figures],
        "failures": failures,
    }
    output.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def scratch() -> Path:
    """Make a folder on the checkout's disk, so that fsync reaches a real disk."""
    path = Path("build")
    path.mkdir(exist_ok=True)
    return path.resolve()


def raise_open_files() -> None:
    """Raise the limit of open files: a thousand streams take two each in the server and one here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
