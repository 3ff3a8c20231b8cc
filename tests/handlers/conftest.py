import json
from collections.abc import Callable
from typing import Any

import pytest

from persistence.types import JSON
from tests.fixtures.library import library

__all__ = ["library"]


@pytest.fixture
def ask(tag: str) -> Callable[..., JSON]:
    """A chat request whose answer is the given turn."""

    def request(turn: JSON, **fields: Any) -> JSON:
        script = json.dumps({"tag": tag, "turns": [turn]})
        return {"model": "m", "messages": [{"role": "user", "content": f"script: {script}"}], **fields}

    return request
