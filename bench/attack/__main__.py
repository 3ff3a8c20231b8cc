"""The command: `python -m bench.attack`."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from bench.__main__ import raise_open_files, scratch
from bench.attack import connections, files, hooks, requests, runs
from bench.attack.arena import Arena, Result, arena, measure
from bench.figures import columns
from bench.rig import Rig

Attack = Callable[[Arena], Callable[[], str]]
"""Prepares an attack and returns it; its docstring says what it does."""

ATTACKS: tuple[Attack, ...] = (
    connections.trailers,
    connections.long_trailer,
    connections.long_head,
    connections.double_slash,
    connections.silent_connections,
    connections.slow_heads,
    connections.unfinished_bodies,
    requests.search,
    requests.long_query,
    requests.image_url,
    requests.image_url_chat,
    requests.thread_of_messages,
    requests.delete_thread,
    requests.huge_page,
    requests.model_names,
    requests.deep_body,
    requests.many_members,
    requests.many_tools,
    requests.countless_values,
    requests.many_filters,
    runs.citation_marks,
    runs.citation_openings,
    runs.one_long_answer,
    runs.long_answers,
    runs.many_calls,
    files.wide_tables,
    files.many_small_files,
    files.zip_bomb,
    hooks.webhooks_refused,
    hooks.webhooks_stalled,
    hooks.webhooks_flooded,
)

GET_P99, POST_P99, GROWTH = 100.0, 500.0, 50.0
"""The bars: milliseconds of the other project's requests, megabytes that a worker may grow by."""


def name_of(attack: Attack) -> str:
    """Return an attack's name on the command line."""
    return attack.__name__.replace("_", "-")


HEADINGS = (
    *("attack", "GET p99", "max", "before", "after", "POST p99", "max"),
    *("block", "grown", "peak", "killed", "failed", "", "what came of it"),
)


def broken_bars(result: Result) -> list[str]:
    """Return what an attack did that it must not."""
    during, after = result.during, result.after
    bars = {
        "GETs": during.get(0.99) > GET_P99,
        "POSTs": during.post(0.99) > POST_P99,
        "failed requests": during.failed + after.failed > 0,
        "memory": result.growth > GROWTH,
        "a killed worker": result.killed > 0,
        "what it reached": result.worked,
        "slow afterwards": after.get(0.99) > GET_P99 or after.post(0.99) > POST_P99,
    }
    return [name for name, broken in bars.items() if broken]


def bars() -> tuple[str, ...]:
    """Return the row of the bars."""
    gets, posts, growth = (f"≤ {bar:.0f}" for bar in (GET_P99, POST_P99, GROWTH))
    return ("bar", gets, "", "", gets, posts, "", "", growth, "", "0", "0", "", "")


def cells(name: str, result: Result) -> tuple[str, ...]:
    """Return one row: milliseconds of the other project's requests, megabytes of the worst worker."""
    before, during, after = result.before, result.during, result.after
    gets = (during.get(0.99), during.get(1), before.get(0.99), after.get(0.99))
    times = (*gets, during.post(0.99), during.post(1), result.block)
    failed = during.failed + after.failed
    numbers = (*(f"{time:,.0f}" for time in times), f"{result.growth:.0f}", f"{result.peak:.0f}")
    broken = broken_bars(result)
    verdict = f"BROKEN: {', '.join(broken)}" if broken else "holds"
    return (name, *numbers, str(result.killed), str(failed), verdict, result.outcome)


def unmeasured(name: str, exc: Exception) -> tuple[str, ...]:
    """Return the row of an attack that could not be measured."""
    reason = f"{type(exc).__name__}: {(str(exc).splitlines() or [''])[0]}"
    return (name, *("" for _ in HEADINGS[3:]), "NOT MEASURED", reason)


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Run this attack; may be given several times.")
@click.option("--list", "listing", is_flag=True, help="Name the attacks and end.")
@click.option("--quick", is_flag=True, help="Smaller attacks: for a glance, not for a record.")
def main(only: tuple[str, ...], listing: bool, quick: bool) -> None:
    """Attack a server of two workers, and measure what another project's requests take meanwhile.

    Each attack has a server of its own. For each the table shows milliseconds of the other project's GETs
    and POSTs during the attack, of its GETs before it and five seconds later, the longest time for which a
    worker's event loop was blocked, and how many megabytes the worse worker grew by, at the end and at its
    peak. Ends with status 1 if a bar is broken or an attack could not be measured.
    """
    attacks = {name_of(attack): attack for attack in ATTACKS}
    if listing:
        for name, attack in attacks.items():
            click.echo(f"{name:20} {attack.__doc__}")
        return
    if unknown := sorted(set(only) - attacks.keys()):
        raise click.BadParameter(f"no attack is named {', '.join(unknown)}; see --list")
    raise_open_files()
    chosen = [attack for name, attack in attacks.items() if not only or name in only]
    rows, broken = [], False
    for place, attack in enumerate(chosen, 1):
        click.echo(f"[{place}/{len(chosen)}] {name_of(attack)}: {attack.__doc__}", err=True)
        try:
            result = perform(attack, quick=quick)
        except Exception as exc:  # the outermost edge: the other attacks are wanted all the same
            rows.append(unmeasured(name_of(attack), exc))
            click.echo(f"    not measured: {rows[-1][-1]}", err=True)
            broken = True
            continue
        rows.append(cells(name_of(attack), result))
        click.echo(f"    {result.outcome}, in {result.seconds:.1f} s: {rows[-1][-2]}", err=True)
        broken = broken or bool(broken_bars(result))
    click.echo(columns(HEADINGS, [bars(), *rows]))
    sys.exit(1 if broken else 0)


def perform(attack: Attack, *, quick: bool) -> Result:
    """Run one attack against a server of its own."""
    folder = tempfile.TemporaryDirectory(prefix="astrolabe-attack-", dir=scratch())
    with folder as path, arena(Rig(Path(path), quick, click.echo)) as ground:
        return measure(ground, attack(ground))


if __name__ == "__main__":
    main()
