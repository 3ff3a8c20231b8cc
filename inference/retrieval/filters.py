"""OpenAI's attribute filters, checked and turned into the store's."""

from collections.abc import Mapping
from typing import Any

from inference.retrieval.errors import RequestRefused
from persistence.store import Comparison, Compound, Filter

MAX_DEPTH = 8
MAX_COMPARISONS = 100
MAX_VALUES = 100
MAX_KEY, MAX_STRING = 64, 512
"""Characters of an attribute's name and value; longer ones cannot be stored."""

ORDERED = frozenset({"gt", "gte", "lt", "lte"})
MEMBERSHIP = frozenset({"in", "nin"})
OPERATORS = ORDERED | MEMBERSHIP | {"eq", "ne"}


def parse_filter(value: Any, param: str = "filters") -> Filter:
    """Return the filter; raise RequestRefused, naming the field that is wrong.

    Compound filters may be nested MAX_DEPTH deep and hold MAX_COMPARISONS comparisons in all.
    """
    return _Parser().filter(value, param, 1)


class _Parser:
    """Parses one filter, within the limits of its depth and its comparisons."""

    def __init__(self) -> None:
        self._comparisons = 0

    def filter(self, value: Any, param: str, depth: int) -> Filter:
        if not isinstance(value, Mapping):
            raise _refused(param, "expected an object", "invalid_type")
        operator = value.get("type")
        if operator in ("and", "or"):
            return self._compound(operator, value, param, depth)
        if operator not in OPERATORS:
            raise _refused(f"{param}.type", f"expected one of and, or, {', '.join(sorted(OPERATORS))}")
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise _refused(param, f"at most {MAX_COMPARISONS} comparisons are allowed")
        return _comparison(operator, value, param)

    def _compound(self, operator: Any, value: Mapping[str, Any], param: str, depth: int) -> Compound:
        if depth > MAX_DEPTH:
            raise _refused(param, f"filters may be nested {MAX_DEPTH} deep at most")
        filters = value.get("filters")
        if not isinstance(filters, list) or not filters:
            raise _refused(f"{param}.filters", "expected an array of at least one filter", "invalid_type")
        return Compound(
            operator,
            tuple(self.filter(item, f"{param}.filters[{n}]", depth + 1) for n, item in enumerate(filters)),
        )


def _comparison(operator: Any, value: Mapping[str, Any], param: str) -> Comparison:
    key, operand = value.get("key"), value.get("value")
    if not isinstance(key, str) or not key:
        raise _refused(f"{param}.key", "expected the name of an attribute", "invalid_type")
    if len(key) > MAX_KEY:
        raise _refused(f"{param}.key", f"at most {MAX_KEY} characters are allowed", "string_above_max_length")
    field = f"{param}.value"
    if operator in MEMBERSHIP:
        if not isinstance(operand, list) or not all(isinstance(item, (str, int, float)) for item in operand):
            raise _refused(field, "expected an array of strings or numbers", "invalid_type")
        if len(operand) > MAX_VALUES:
            raise _refused(field, f"at most {MAX_VALUES} values are allowed", "array_above_max_length")
        for item in operand:
            _check_length(item, field)
        return Comparison(operator, key, tuple(operand))
    if not isinstance(operand, (str, int, float)):
        raise _refused(field, "expected a string, a number or a boolean", "invalid_type")
    if operator in ORDERED and isinstance(operand, bool):
        raise _refused(field, "booleans have no order", "invalid_type")
    _check_length(operand, field)
    return Comparison(operator, key, operand)


def _check_length(value: str | float, field: str) -> None:
    if isinstance(value, str) and len(value) > MAX_STRING:
        raise _refused(field, f"at most {MAX_STRING} characters are allowed", "string_above_max_length")


def _refused(param: str, reason: str, code: str = "invalid_value") -> RequestRefused:
    return RequestRefused(f"Invalid '{param}': {reason}.", param=param, code=code)
