"""Read JSON that providers write, also with lone surrogates, NaN and infinities."""

import json
from typing import Any

import orjson

from persistence import large_json
from persistence.large_json import LARGE_BYTES

LEAST_LOGPROB = -9999.0
"""The log probability that OpenAI sends for nearly impossible tokens."""

_CONSTANTS = {"-Infinity": LEAST_LOGPROB}


def loads(data: bytes) -> Any:
    """Return the value of `data`; raise ValueError if it is not JSON.

    `-Infinity` becomes OpenAI's least log probability, `NaN` and `Infinity` None. Strings can hold
    lone surrogates: join them over chunks, or replace them with `without_surrogates`.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _loads_text(data.decode("utf-8", "replace"))


async def loads_large(data: bytes) -> Any:
    """Return the value of `data` like `loads`; other requests have their turn while a long one is decoded."""
    if len(data) < LARGE_BYTES or data.isascii():
        return loads(data)
    return _loads_text(await large_json.decoded(data, "replace"))


def _loads_text(text: str) -> Any:
    return json.loads(text, parse_constant=_CONSTANTS.get, parse_int=_integer, strict=False)


def _integer(text: str) -> int | float:
    """Return an integer, as a float if it is too large to be encoded again."""
    value = int(text)
    return value if -(2**63) <= value < 2**64 else float(text)


def without_surrogates(value: Any) -> Any:
    """Return `value` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    if isinstance(value, str):
        return value if value.isascii() or not _has_surrogate(value) else _joined(value)
    if isinstance(value, dict):
        return {without_surrogates(name): without_surrogates(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    return value


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
