"""Bodies are checked alike in the event loop, in a thread and in the process."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from handlers.context import Principal
from handlers.errors import Unavailable
from serving.body_checker import BodyChecker
from serving.request import Headers, Request
from spec.body import MAX_VALUES
from spec.edition import Edition, load, shipped
from spec.errors import InvalidRequest

VALUES = 30_000
"""More than are checked in a thread."""


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Edition:
    return load(shipped()[-1], tmp_path_factory.mktemp("editions"))


@pytest.fixture
async def checker(tmp_path: Path) -> AsyncIterator[BodyChecker]:
    checker = BodyChecker({}, tmp_path)
    yield checker
    await checker.life.close()


async def check(checker: BodyChecker, edition: Edition, operation: str, body: Any) -> Any:
    one = next(one for one in edition.operations if one.id == operation)
    request = Request("req", "POST", "/", "/", b"", Headers(()), principal=Principal("p"), default_model="m")
    request.edition = type("Served", (), {"edition": edition})
    return await checker.check(orjson.dumps(body), request, one, one.body("application/json"))


def many(values: int) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": [1.5, "é"] * (values // 2)}}}
    return {"name": "a", "tools": [tool], "description": None}


@pytest.mark.parametrize("body", [many(10), many(15_000), many(VALUES)], ids=["loop", "thread", "process"])
async def test_a_valid_body_is_the_same_wherever_it_is_checked(
    checker: BodyChecker, newest: Edition, body: dict[str, Any]
) -> None:
    checked = await check(checker, newest, "createAssistant", body)
    assert checked["tools"] == body["tools"]
    assert checked["model"] == "m"


@pytest.mark.parametrize("count", [200, 5_000, VALUES], ids=["loop", "thread", "process"])
async def test_a_refused_body_has_the_same_error(checker: BodyChecker, newest: Edition, count: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await check(checker, newest, "createAssistant", {"tools": [{"type": "file_search"}] * count})
    assert (refused.value.param, refused.value.code) == ("tools", "array_above_max_length")


async def test_a_body_of_too_many_values_is_refused(checker: BodyChecker, newest: Edition) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await check(checker, newest, "createAssistant", {"tools": [0] * (MAX_VALUES + 1)})
    assert "values" in refused.value.message


async def test_a_lost_process_fails_its_body_only(checker: BodyChecker, newest: Edition) -> None:
    await check(checker, newest, "createAssistant", many(VALUES))
    assert checker.process_id is not None
    os.kill(checker.process_id, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await check(checker, newest, "createAssistant", many(VALUES))
    assert await check(checker, newest, "createAssistant", many(VALUES))


async def test_the_loop_goes_on_meanwhile(checker: BodyChecker, newest: Edition) -> None:
    longest = 0.0

    async def measure() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - began)

    measuring = asyncio.create_task(measure())
    await check(checker, newest, "createAssistant", many(400_000))
    measuring.cancel()
    assert longest < 0.5  # in one piece it takes a second, on an idle machine
