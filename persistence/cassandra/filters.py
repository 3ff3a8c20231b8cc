"""Attribute filters, evaluated on the attributes of a file."""

from collections.abc import Sequence
from typing import Any

from persistence.store import Attributes, Comparison, Compound, Filter


def matches(filter: Filter, attributes: Attributes) -> bool:
    """Return whether a file with these attributes passes the filter."""
    if isinstance(filter, Compound):
        join = all if filter.operator == "and" else any
        return join(matches(part, attributes) for part in filter.filters)
    return compare(filter, attributes.get(filter.attribute))


def compare(filter: Comparison, found: Any) -> bool:
    """Return the result of one comparison; without the attribute only ne and nin hold."""
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
    """Return the type that a value is compared within: true is not 1, and "1" is neither."""
    if isinstance(value, bool):
        return bool
    return str if isinstance(value, str) else float


def equal(found: Any, wanted: Any) -> bool:
    """Return whether two values have the same type and are equal."""
    return found is not None and kind(found) is kind(wanted) and bool(found == wanted)


def values_of(value: Any) -> Sequence[Any]:
    """Return the values of a list."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
