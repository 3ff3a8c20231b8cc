"""Functions of an operator."""

import asyncio
import time
from typing import Any

from persistence.types import JSON

counted: list[JSON] = []


def add(arguments: JSON, context: Any) -> JSON:
    """Return a sum, and whose it is."""
    return {"sum": arguments["a"] + arguments["b"], "project": context.project, "in": context.conversation}


async def shout(arguments: JSON, _: Any) -> str:
    """Return a text in capitals."""
    await asyncio.sleep(0)
    return str(arguments["text"]).upper()


def fail(_: JSON, __: Any) -> None:
    """Raise an error."""
    raise ValueError("the ledger is closed")


def sleep(_: JSON, __: Any) -> None:
    """Take longer than a call may."""
    time.sleep(0.5)


def flood(_: JSON, __: Any) -> str:
    """Return more than a model reads."""
    return "x" * 2_000_000


NOT_A_FUNCTION = 7
