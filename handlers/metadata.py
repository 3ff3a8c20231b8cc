"""The rules of `metadata`, which some editions state in prose only."""

from typing import Any

from handlers.errors import BadRequest

MAX_PAIRS = 16
MAX_KEY = 64
MAX_VALUE = 512


def checked_metadata(value: Any, param: str = "metadata") -> dict[str, str]:
    """The metadata to store ({} for null); BadRequest naming the field that breaks a limit.

    At most 16 pairs, keys of at most 64 characters, values strings of at most 512.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"Invalid type for '{param}': expected an object.", param=param, code="invalid_type")
    if len(value) > MAX_PAIRS:
        raise BadRequest(
            f"Invalid '{param}': too many properties. Expected an object with at most {MAX_PAIRS} "
            f"properties, but got an object with {len(value)} properties instead.",
            param=param,
            code="object_above_max_properties",
        )
    for key, item in value.items():
        _check_pair(key, item, param)
    return dict(value)


def _check_pair(key: str, value: Any, param: str) -> None:
    if len(key) > MAX_KEY:
        raise BadRequest(
            f"Invalid '{param}': key '{key[:MAX_KEY]}...' is too long. Expected a key with maximum length "
            f"{MAX_KEY}, but got a key with length {len(key)} instead.",
            param=param,
            code="string_above_max_length",
        )
    field = f"{param}.{key}"
    if not isinstance(value, str):
        raise BadRequest(f"Invalid type for '{field}': expected a string.", param=field, code="invalid_type")
    if len(value) > MAX_VALUE:
        raise BadRequest(
            f"Invalid '{field}': string too long. Expected a string with maximum length {MAX_VALUE}, "
            f"but got a string with length {len(value)} instead.",
            param=field,
            code="string_above_max_length",
        )
