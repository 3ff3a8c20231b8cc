"""Explains in OpenAI's words what is wrong with a value, naming the field.

jsonschema-rs finds the errors; for `anyOf` it reports those of every branch. This module picks one
fault: in a union, that of the branch that matches best. Branches with another tag (`type`, `role`)
or another type are ruled out; of the others the one with the fewest faults wins, then the deepest.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from spec.schema import TAGS
from spec.shrink import Path, Shrunk, value_at

_UNIONS = (Kind.AnyOf, Kind.OneOfNotValid)
_SHOWN = 200
# The one format that requests are held against is that of a URL.
_FORMAT = "Expected a valid URL, but got a value with an invalid format."
_NAMES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a decimal",
    "boolean": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `kind` is missing, unknown, type, value or limit.

    `names` are the allowed types or values, or the name of the field. `tag` is true if the fault
    means that another branch of a union was intended.
    """

    path: Path
    kind: str
    names: tuple[Any, ...]
    error: ValidationError
    tag: bool = False


def explain(errors: Sequence[ValidationError], value: Any, small: Shrunk) -> tuple[str, str | None, str]:
    """Return (message, param, code) of the most important fault of `value`.

    The errors are those of `small`, the shrunk value.
    """
    fault = min(_faults(errors), key=_importance)
    path = small.original(fault.path)
    return _worded(fault, field_path(path), value_at(value, path, fault.error.instance))


def explain_length(path: Path, limit: int, value: Any) -> tuple[str, str | None, str]:
    """Return (message, param, code) of a string of `value` that is longer than its limit."""
    param = field_path(path)
    message = _long("string", "length", limit, len(value_at(value, path)))
    shown = f"'{param}'" if param else "body"
    return f"Invalid {shown}: {message}", param, "string_above_max_length"


def missing_paths(error: ValidationError) -> Iterator[Path]:
    """Yield the paths of missing properties, also in branches of unions that accept this type."""
    path = tuple(error.instance_path)
    match error.kind:
        case Kind.Required(property=name):
            yield (*path, name)
        case Kind.AnyOf(context=branches):
            for branch in branches:
                mistyped = (one for one in branch if isinstance(one.kind, Kind.Type))
                if not any(tuple(one.instance_path) == path for one in mistyped):
                    yield from (found for one in branch for found in missing_paths(one))


def _importance(fault: Fault) -> tuple[int, int]:
    order = ("missing", "type", "value", "limit", "unknown")
    return len(fault.path), order.index(fault.kind)


def _faults(errors: Sequence[ValidationError]) -> list[Fault]:
    # If a union failed, all its properties count as unevaluated: those errors are noise.
    failed = {tuple(error.instance_path) for error in errors if isinstance(error.kind, _UNIONS)}
    faults = [
        _fault(error)
        for error in errors
        if not (isinstance(error.kind, Kind.UnevaluatedProperties) and tuple(error.instance_path) in failed)
    ]
    mistyped = {fault.path for fault in faults if fault.kind == "type"}
    # A value of the wrong type is not in the enum either: report the type only.
    return [one for one in faults if one.kind == "type" or one.path not in mistyped] or faults


def _fault(error: ValidationError) -> Fault:
    path: Path = tuple(error.instance_path)
    match error.kind:
        case Kind.AnyOf(context=branches) | Kind.OneOfNotValid(context=branches):
            return _closest(path, [_faults(branch) for branch in branches if branch], error)
        case Kind.Required(property=name):
            return Fault((*path, name), "missing", (name,), error, tag=name in TAGS)
        case Kind.AdditionalProperties(unexpected=names) | Kind.UnevaluatedProperties(unexpected=names):
            return Fault((*path, names[0]), "unknown", tuple(names), error)
        case Kind.FalseSchema():
            return Fault(path, "unknown", (), error)
        case Kind.Type(types=types):
            return Fault(path, "type", _ordered(types), error)
        case Kind.Enum(options=options):
            return _value(path, tuple(options), error)
        case Kind.Constant(expected_value=value):
            return _value(path, (value,), error)
        case _:
            return Fault(path, "limit", (), error)


def _value(path: Path, options: tuple[Any, ...], error: ValidationError) -> Fault:
    tag = bool(path) and (len(options) == 1 or path[-1] in TAGS)
    return Fault(path, "value", options, error, tag)


def _closest(path: Path, branches: list[list[Fault]], error: ValidationError) -> Fault:
    if not branches:
        return Fault(path, "limit", (), error)
    distances = [_distance(path, branch) for branch in branches]
    nearest = min(distances)
    branch = branches[distances.index(nearest)]
    match nearest[0]:
        case 4:
            return _joined("type", path, branches, error)
        case 2:
            return _joined("value", _tag(path, branch).path, branches, error)
        case 1:
            return _tag(path, branch)
    same = [one for one, distance in zip(branches, distances, strict=True) if distance[0] == nearest[0]]
    if all(any(one.kind == "value" and one.path == path for one in faults) for faults in same):
        return _joined("value", path, same, error)
    return min(branch, key=_importance)


def _distance(path: Path, branch: list[Fault]) -> tuple[int, int, int]:
    """Return how badly a branch matches the value.

    4: another type; 3: no such tag; 2: another value of the tag; 1: the value has no tag; 0: it
    matches.
    """
    depth = max(len(one.path) for one in branch)
    if any(one.kind == "type" and one.path == path for one in branch):
        return 4, len(branch), -depth
    unknown = [
        name for one in branch if one.kind == "unknown" and one.path[:-1] == path for name in one.names
    ]
    if not TAGS.isdisjoint(unknown):
        return 3, len(branch), -depth
    tags = [one for one in branch if one.tag and len(one.path) == len(path) + 1]
    if any(one.kind == "value" for one in tags):
        return 2, len(branch), -depth
    return (1 if tags else 0), len(branch), -depth


def _tag(path: Path, branch: list[Fault]) -> Fault:
    tags = [one for one in branch if one.tag and len(one.path) == len(path) + 1]
    return next((one for one in tags if one.kind == "value"), tags[0])


def _joined(kind: str, path: Path, branches: list[list[Fault]], error: ValidationError) -> Fault:
    """Join the faults at that path into one that lists what any branch allows."""
    meant = [one for branch in branches for one in branch if one.kind == kind and one.path == path]
    names = [name for one in meant for name in one.names]
    unique = {json.dumps(name, sort_keys=True, default=str): name for name in names}
    allowed = _ordered(unique.values()) if kind == "type" else tuple(unique.values())
    return Fault(path, kind, allowed, meant[0].error if meant else error, tag=kind == "value")


def _ordered(types: Iterable[str]) -> tuple[str, ...]:
    given = set(types)
    return tuple(name for name in _NAMES if name in given)


# --- wording ---


def _worded(fault: Fault, param: str | None, value: Any) -> tuple[str, str | None, str]:
    shown = f" for '{param}'" if param else ""
    match fault.kind:
        case "missing":
            return f"Missing required parameter: '{param}'.", param, "missing_required_parameter"
        case "unknown":
            return f"Unknown parameter: '{param or ''}'.", param, "unknown_parameter"
        case "type":
            message = f"Invalid type{shown}: expected {_expected(fault)}, but got {_given(value)} instead."
            return message, param, "invalid_type"
        case "value":
            allowed = _listed([_literal(one) for one in fault.names if one is not None], "and")
            return (
                f"Invalid value: {_literal(value)}. Supported values are: {allowed}.",
                param,
                "invalid_value",
            )
        case _ if isinstance(fault.error.kind, Kind.Format):
            return f"Invalid{shown.removeprefix(' for')}. {_FORMAT}", param, "invalid_value"
        case _:
            message, code = _limit(fault.error, value)
            return f"Invalid '{param}': {message}" if param else f"Invalid body: {message}", param, code


def field_path(path: Iterable[str | int]) -> str | None:
    """Return the path as OpenAI writes it, `messages[0].content`; None for the whole body."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return _short(text) or None


def _expected(fault: Fault) -> str:
    names = [name for name in fault.names if name != "null"] or list(fault.names)
    if len(names) > 1:
        return "one of " + _listed([_NAMES[name] for name in names], "or")
    return _NAMES[names[0]] if names else "another type"


def _given(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _limit(error: ValidationError, value: Any) -> tuple[str, str]:
    """Return what is wrong with a value of the right type, and OpenAI's code for it."""
    number = "integer" if isinstance(value, int) else "decimal"
    match error.kind:
        case Kind.MaxLength(limit=limit):
            return _long("string", "length", limit, len(value)), "string_above_max_length"
        case Kind.MinLength(limit=limit):
            return _short_of("string", limit, len(value))
        case Kind.MaxItems(limit=limit):
            return _long("array", "length", limit, len(value)), "array_above_max_length"
        case Kind.MinItems(limit=limit):
            return _short_of("array", limit, len(value))
        case Kind.MaxProperties(limit=limit):
            message = (
                f"too many properties. Expected an object with at most {limit} properties, "
                f"but got an object with {len(value)} properties instead."
            )
            return message, "object_above_max_properties"
        case Kind.MinProperties(limit=limit):
            message = (
                f"not enough properties. Expected an object with at least {limit} properties, "
                f"but got an object with {len(value)} properties instead."
            )
            return message, "object_below_min_properties"
        case Kind.Maximum(limit=limit):
            return _beyond(number, "above maximum", "<=", limit, value), f"{number}_above_max_value"
        case Kind.ExclusiveMaximum(limit=limit):
            return _beyond(number, "above maximum", "<", limit, value), f"{number}_above_max_value"
        case Kind.Minimum(limit=limit):
            return _beyond(number, "below minimum", ">=", limit, value), f"{number}_below_min_value"
        case Kind.ExclusiveMinimum(limit=limit):
            return _beyond(number, "below minimum", ">", limit, value), f"{number}_below_min_value"
        case Kind.Pattern(pattern=pattern):
            message = "string does not match pattern. Expected a string that matches the pattern "
            return f"{message}'{_short(pattern)}'.", "invalid_value"
        case Kind.PropertyNames(error=inner):
            message, code = _limit(inner, inner.instance)
            return f"property name {_literal(inner.instance)}: {message}", code
        case kind:
            return f"does not satisfy '{kind.name}'.", "invalid_value"


def _long(what: str, measure: str, limit: int, got: int) -> str:
    article = "an" if what == "array" else "a"
    return (
        f"{what} too long. Expected {article} {what} with maximum {measure} {limit}, "
        f"but got {article} {what} with {measure} {got} instead."
    )


def _short_of(what: str, limit: int, got: int) -> tuple[str, str]:
    article = "an" if what == "array" else "a"
    expected = f"Expected {article} {what} with minimum length {limit}, but got "
    if got == 0:
        return f"empty {what}. {expected}an empty {what} instead.", f"empty_{what}"
    message = f"{what} too short. {expected}{article} {what} with length {got} instead."
    return message, f"{what}_below_min_length"


def _beyond(number: str, how: str, sign: str, limit: Any, got: Any) -> str:
    return f"{number} {how} value. Expected a value {sign} {limit}, but got {_literal(got)} instead."


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return f"'{_short(value)}'"
    return _short(json.dumps(value, default=str))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _listed(names: list[str], last: str) -> str:
    if len(names) < 3:
        return f" {last} ".join(names)
    return f"{', '.join(names[:-1])}, {last} {names[-1]}"
