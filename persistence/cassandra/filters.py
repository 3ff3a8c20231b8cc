"""Attribute filters over the attributes of a file."""

from collections.abc import Sequence
from typing import Any

from persistence.store import Attributes, Comparison, Compound, Filter


def matches(filter: Filter, attributes: Attributes) -> bool:
    """Whether a file with these attributes is let through."""
    if isinstance(filter, Compound):
        join = all if filter.operator == "and" else any
        return join(matches(part, attributes) for part in filter.filters)
    return compare(filter, attributes.get(filter.attribute))


def compare(filter: Comparison, found: Any) -> bool:
    """One comparison; without the attribute (None) only ne and nin hold."""
    wanted: Any = filter.value
    match filter.operator:
        case "eq":
            return equal(found, wanted)
        case "ne":
            return not equal(found, wanted)
        case "in":
            return any(equal(found, each) for each in values_of(wanted))
        case "nin":
            return not any(equal(found, each) for each in values_of(wanted))
    if found is None or kind(found) != kind(wanted):
        return False
    match filter.operator:
        case "gt":
            return bool(found > wanted)
        case "gte":
            return bool(found >= wanted)
        case "lt":
            return bool(found < wanted)
        case "lte":
            return bool(found <= wanted)


def kind(value: Any) -> type:
    """The type that a value is compared within: true is not 1, and "1" is neither."""
    if isinstance(value, bool):
        return bool
    return str if isinstance(value, str) else float


def equal(found: Any, wanted: Any) -> bool:
    """Whether values are of one type and the same."""
    return found is not None and kind(found) is kind(wanted) and bool(found == wanted)


def values_of(value: Any) -> Sequence[Any]:
    """The values of a list."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
