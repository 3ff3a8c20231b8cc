"""Makes a refused value small before its errors are collected, so that a refusal stays cheap.

jsonschema-rs says quickly whether a value fits, and slowly what is wrong with it: every error of
every branch of every union holds a copy of what it is about. 100,000 wrong messages took it 60 s.
So long strings are cut and long arrays are halved, as long as the value stays refused: what is
left has a few items of each array, of which at least one is wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]

_SMALL = 400
_LONGEST = 1000
# Not down to one, for the sake of schemas that want two items at least.
_ITEMS = 4
_TRIALS = 400


@dataclass(slots=True)
class Reduced:
    """A smaller value that is refused as well; `starts` are the indexes at which arrays were cut."""

    value: Any
    starts: dict[Path, int] = field(default_factory=dict)

    def original(self, path: Path) -> Path:
        """A path in the smaller value as it is in the whole one."""
        whole: Path = ()
        for step in named(path, self.value):
            whole = (*whole, step + self.starts.get(whole, 0) if isinstance(step, int) else step)
        return whole


def named(path: Path, value: Any) -> Path:
    """A path with its steps into objects as names: jsonschema-rs has 7 for the property "7"."""
    steps: list[str | int] = []
    for step in path:
        is_name = isinstance(value, dict)
        steps.append(str(step) if is_name else step)
        value = at(value, (steps[-1],))
    return tuple(steps)


def reduced(value: Any, fits: Callable[[Any], bool]) -> Reduced:
    """`value`, which does not fit, made smaller; itself if it is small."""
    if is_small(value, _SMALL):
        return Reduced(value)
    short = _copied(value, _LONGEST)
    if fits(short):
        # Only the length of a string was wrong.
        short = _copied(value, None)
    return _Halving(short, fits).done()


def is_small(value: Any, most: int) -> bool:
    """Whether `value` has at most that many members, a long string counting for several."""
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


def _copied(value: Any, longest: int | None) -> Any:
    """A copy, for the halving to change, with strings of that length at most."""
    if isinstance(value, dict):
        return {name: _copied(one, longest) for name, one in value.items()}
    if isinstance(value, list):
        return [_copied(one, longest) for one in value]
    return value[:longest] if isinstance(value, str) else value


class _Halving:
    def __init__(self, value: Any, fits: Callable[[Any], bool]) -> None:
        self._root = {"": value}
        self._fits = fits
        self._trials = _TRIALS
        self._starts: dict[Path, int] = {}

    def done(self) -> Reduced:
        todo: list[tuple[Any, str | int, Path]] = [(self._root, "", ())]
        while todo and self._trials > 0:
            holder, key, path = todo.pop()
            if isinstance(holder[key], list):
                self._halve(holder, key, path)
            todo += ((holder[key], step, (*path, self._whole(path, step))) for step in _steps(holder[key]))
        return Reduced(self._root[""], self._starts)

    def _whole(self, path: Path, step: str | int) -> str | int:
        return step + self._starts.get(path, 0) if isinstance(step, int) else step

    def _halve(self, holder: Any, key: str | int, path: Path) -> None:
        """Cut the array at that place as far as the value stays refused."""
        items, start = holder[key], 0
        while len(items) > _ITEMS and self._trials > 0:
            middle = len(items) // 2
            for begin, half in ((0, items[:middle]), (middle, items[middle:])):
                holder[key] = half
                self._trials -= 1
                if not self._fits(self._root[""]):
                    items, start = half, start + begin
                    break
            else:
                holder[key] = items
                break
        if start:
            self._starts[path] = start


def _steps(value: Any) -> Iterator[str | int]:
    if isinstance(value, dict):
        yield from (name for name, one in value.items() if isinstance(one, dict | list))
    elif isinstance(value, list):
        yield from (index for index, one in enumerate(value) if isinstance(one, dict | list))


def at(value: Any, path: Path) -> Any:
    """What stands at that path; None where nothing does."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
