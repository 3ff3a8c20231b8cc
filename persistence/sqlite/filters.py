"""Attribute filters as SQL over the table `attributes`, whose index answers each comparison."""

from collections.abc import Sequence
from typing import Any

from persistence.store import Comparison, Compound, Filter

SIGNS = {"eq": "=", "ne": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
Condition = tuple[str, list[Any]]

ANY: Condition = ("1", [])
NONE: Condition = ("0", [])


def kind(value: str | float | bool) -> int:
    """Return the type that a value is compared within: true is not 1, and "1" is neither."""
    if isinstance(value, bool):
        return 0
    return 2 if isinstance(value, str) else 1


def number(value: str | float | bool) -> str | float:
    """Return a value as SQLite stores it; integers beyond 64 bits become floats."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def condition(filter: Filter | None) -> Condition:
    """Return an SQL condition on `source`, and its bindings."""
    if filter is None:
        return ANY
    if isinstance(filter, Compound):
        return compound(filter)
    if filter.operator in ("in", "nin"):
        return membership(filter)
    sql, bindings = comparison(filter.attribute, SIGNS[filter.operator], filter.value)
    return (f"NOT {sql}", bindings) if filter.operator == "ne" else (sql, bindings)


def compound(filter: Compound) -> Condition:
    """Join conditions by and, or; an empty `and` holds, an empty `or` does not."""
    if not filter.filters:
        return ANY if filter.operator == "and" else NONE
    parts = [condition(part) for part in filter.filters]
    joined = f" {filter.operator.upper()} ".join(sql for sql, _ in parts)
    return f"({joined})", [binding for _, bindings in parts for binding in bindings]


def membership(filter: Comparison) -> Condition:
    """Compare with any value of a list, or with none of them."""
    values = filter.value if isinstance(filter.value, Sequence) and not isinstance(filter.value, str) else []
    equal = [Comparison("eq", filter.attribute, value) for value in values]
    sql, bindings = compound(Compound("or", equal))
    return (f"NOT {sql}", bindings) if filter.operator == "nin" else (sql, bindings)


def comparison(attribute: str, sign: str, value: Any) -> Condition:
    """Select the sources whose attribute, of the value's type, compares so."""
    sql = f"source IN (SELECT source FROM attributes WHERE name=? AND kind=? AND value{sign}?)"  # noqa: S608
    return sql, [attribute, kind(value), number(value)]
