"""Shrinks an invalid value before its errors are collected, so that refusing it stays cheap.

jsonschema-rs decides quickly whether a value fits, but explains slowly: every error of every branch
of every union holds a copy of its instance. 100,000 wrong messages took 60 s. So long strings and
arrays are cut while the value stays invalid: a few items of each array remain, at least one wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Path = tuple[str | int, ...]

_SMALL = 400
# Tried one after the other: errors hold copies of a string, and 256,000 and 1,048,576 are bounds of some.
_LONGEST = (1000, 300_000, 1_100_000, None)
# More than one, because some schemas require two items.
_ITEMS = 4
_TRIALS = 200


@dataclass(slots=True)
class Shrunk:
    """A smaller invalid value; `starts` are the indexes at which arrays were cut."""

    value: Any
    starts: dict[Path, int] = field(default_factory=dict)

    def original(self, path: Path) -> Path:
        """Return the path in the original value of a path in the smaller one."""
        whole: Path = ()
        for step in named_path(path, self.value):
            whole = (*whole, step + self.starts.get(whole, 0) if isinstance(step, int) else step)
        return whole


def named_path(path: Path, value: Any) -> Path:
    """Return a path with names for steps into objects: jsonschema-rs gives 7 for the property "7"."""
    steps: list[str | int] = []
    for step in path:
        is_name = isinstance(value, dict)
        steps.append(str(step) if is_name else step)
        value = value_at(value, (steps[-1],))
    return tuple(steps)


def shrink(value: Any, fits: Callable[[Any], bool]) -> Shrunk:
    """Return an invalid value made smaller; the value itself if it is small."""
    if is_small(value, _SMALL):
        return Shrunk(value)
    short = cut_strings(value, _LONGEST[0])
    for longest in _LONGEST[1:]:
        if not fits(short):
            break
        # Only the length of a string is wrong.
        short = cut_strings(value, longest)
    return _Cutter(short, fits).done()


def is_small(value: Any, most: int) -> bool:
    """Return whether `value` has at most `most` members; a long string counts as several."""
    weight = 0
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            todo += one.values()
            weight += len(one)
        elif isinstance(one, list):
            todo += one
            weight += len(one)
        elif isinstance(one, str):
            weight += len(one) >> 6
        if weight > most:
            return False
    return True


def cut_strings(value: Any, longest: int | None) -> Any:
    """Return a copy whose strings have at most `longest` characters."""
    if isinstance(value, dict):
        return {name: cut_strings(one, longest) for name, one in value.items()}
    if isinstance(value, list):
        return [cut_strings(one, longest) for one in value]
    return value[:longest] if isinstance(value, str) else value


class _Place(NamedTuple):
    """The location of an array: its holder (an object or an array), its key there, and its path."""

    holder: Any
    key: str | int
    path: Path

    @property
    def items(self) -> list[Any]:
        found: list[Any] = self.holder[self.key]
        return found


class _Cutter:
    """Cuts the arrays of an invalid value level by level, from the outermost to the innermost.

    Bisection finds the faulty array of a level, then the faulty items in it: about thirty trials
    a level, each with a smaller value.
    """

    def __init__(self, value: Any, fits: Callable[[Any], bool]) -> None:
        self._root = [value]
        self._fits = fits
        self._trials = _TRIALS
        self._starts: dict[Path, int] = {}

    def done(self) -> Shrunk:
        level = self._below(self._root, ())
        while level and self._trials > 0:
            long = [place for place in level if len(place.items) > _ITEMS]
            if long:
                self._halve(self._narrowed(long))
            level = [below for place in level for below in self._below(place.items, place.path)]
        return Shrunk(self._root[0], self._starts)

    def _refused(self) -> bool:
        self._trials -= 1
        return not self._fits(self._root[0])

    def _narrowed(self, places: list[_Place]) -> _Place:
        """Find the array with the fault; cut all others to their first items."""
        while len(places) > 1:
            middle = len(places) // 2
            kept = [place.items for place in places[:middle]]
            _cut(places[:middle])
            if self._refused():
                places = places[middle:]
                continue
            for place, items in zip(places, kept, strict=False):
                place.holder[place.key] = items
            _cut(places[middle:])
            places = places[:middle]
        return places[0]

    def _halve(self, place: _Place) -> None:
        items, start = place.items, 0
        while len(items) > _ITEMS and self._trials > 0:
            middle = len(items) // 2
            for begin, half in ((0, items[:middle]), (middle, items[middle:])):
                place.holder[place.key] = half
                if self._refused():
                    items, start = half, start + begin
                    break
            else:
                # Only both halves together are invalid: the array may be too long.
                place.holder[place.key] = items
                break
        self._starts[place.path] = start

    def _below(self, value: Any, path: Path) -> list[_Place]:
        """Return the outermost arrays inside `value`, which is at `path`."""
        found: list[_Place] = []
        todo: list[tuple[Any, Path]] = [(value, path)]
        while todo:
            holder, here = todo.pop()
            start = self._starts.get(here, 0)
            members = holder.items() if isinstance(holder, dict) else enumerate(holder)
            for key, member in members:
                there = (
                    (*here, key + start if isinstance(key, int) else key) if holder is not self._root else ()
                )
                if isinstance(member, list):
                    found.append(_Place(holder, key, there))
                elif isinstance(member, dict):
                    todo.append((member, there))
        return found


def _cut(places: list[_Place]) -> None:
    for place in places:
        place.holder[place.key] = place.items[:_ITEMS]


def value_at(value: Any, path: Path, otherwise: Any = None) -> Any:
    """Return the value at that path, or `otherwise`."""
    for step in path:
        if type(value) not in (dict, list):
            return otherwise
        try:
            value = value[step]
        except (LookupError, TypeError):
            return otherwise
    return value
