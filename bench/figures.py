"""Figures and their bars, as a table and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from bench.measuring import Rate, median_ratio
from persistence.types import JSON

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound on a figure: at least or at most `limit`, for its value or for its ratio to the peer."""

    of: Literal["value", "ratio"]
    sense: Literal["≥", "≤"]
    limit: float

    def holds(self, figure: "Figure") -> bool:
        """Return whether the figure meets the bar."""
        reached = figure.value if self.of == "value" else figure.ratio
        if reached is None:
            return False
        return reached >= self.limit if self.sense == "≥" else reached <= self.limit

    def __str__(self) -> str:
        return f"{self.sense} {self.limit:,g}" + (f" {TIMES}" if self.of == "ratio" else "")


def at_least(limit: float) -> Bar:
    """A bar for the value itself."""
    return Bar("value", "≥", limit)


def at_most(limit: float) -> Bar:
    """A bar for the value itself."""
    return Bar("value", "≤", limit)


def at_least_times(limit: float) -> Bar:
    """A bar for the ratio of the value to the peer's."""
    return Bar("ratio", "≥", limit)


def at_most_times(limit: float) -> Bar:
    """A bar for the ratio of the value to the peer's."""
    return Bar("ratio", "≤", limit)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity, and a peer's, measured in the same run.

    `ratio` is the median of the ratios of neighbouring rounds, which a change of the machine's mood
    between rounds does not touch; so it may differ from `value / peer_value`. `cpu` is the processor
    time that the server's process took for one request, in microseconds.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    cpu: float | None = None
    bar: Bar | None = None

    @property
    def holds(self) -> bool | None:
        """Return whether it meets its bar; None without a bar."""
        return None if self.bar is None else self.bar.holds(self)

    def as_json(self) -> JSON:
        """Return the figure as build/bench.json has it."""
        return {
            **asdict(self),
            "bar": None if self.bar is None else {**asdict(self.bar), "text": str(self.bar)},
            "holds": self.holds,
        }


def rate_figure(name: str, pairs: Sequence[tuple[Rate, Rate]], peer: str, bar: Bar) -> Figure:
    """Return the figure of requests per second: the medians of rounds of (ours, peer)."""
    rates = [(one.each_second, other.each_second) for one, other in pairs]
    return Figure(
        name,
        statistics.median(one for one, _ in rates),
        "/s",
        peer,
        statistics.median(other for _, other in rates),
        median_ratio(rates),
        statistics.median(one.cpu_each for one, _ in pairs),
        bar,
    )


HEADINGS = ("figure", "measured", "peer", "ratio", "CPU µs", "bar", "")


def table(figures: Sequence[Figure]) -> str:
    """Return the figures in aligned columns."""
    return columns(HEADINGS, [cells(figure) for figure in figures])


def columns(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows in aligned columns below their headings."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    whole = [headings, tuple("─" * width for width in widths), *rows]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in whole)
    return "\n".join(line.rstrip() for line in lines)


def cells(figure: Figure) -> tuple[str, ...]:
    """Return one row of the table."""
    peer = ""
    if figure.peer_value is not None:
        peer = f"{number(figure.peer_value)} {figure.unit} {figure.peer}"
    return (
        figure.name,
        f"{number(figure.value)} {figure.unit}",
        peer,
        "" if figure.ratio is None else f"{figure.ratio:.2f} {TIMES}",
        "" if figure.cpu is None else f"{figure.cpu:,.0f}",
        "" if figure.bar is None else str(figure.bar),
        {True: "holds", False: "MISSED", None: ""}[figure.holds],
    )


def number(value: float) -> str:
    """Format with three significant digits, and all digits before the point; counts as they are."""
    if isinstance(value, int) or value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
