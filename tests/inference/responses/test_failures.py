"""A provider's errors as clients of responses get them: with a status, or in the response that failed."""

from typing import Any

import pytest

from inference.gateway import Gateway
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.inference.engine.process import script
from tests.inference.responses.worker import parsed, worker

LONG = {"status": 400, "message": "Too long.", "code": "context_length_exceeded", "type": "bad"}
QUOTA = {"status": 429, "message": "Pay.", "code": "insufficient_quota", "type": "insufficient_quota"}

REFUSALS: dict[str, tuple[JSON, tuple[Any, ...]]] = {
    "key": (
        {"status": 401, "message": "Wrong key.", "code": "invalid_api_key"},
        (401, None, "invalid_api_key"),
    ),
    "region": ({"status": 403, "message": "Not here.", "type": "odd"}, (403, "odd", None)),
    "model": (
        {"status": 404, "message": "No model.", "code": "model_not_found"},
        (404, None, "model_not_found"),
    ),
    "conflict": ({"status": 409, "message": "Later."}, (409, None, None)),
    "rate": (
        {"status": 429, "message": "Slow down.", "retry_after": 0, "type": "requests"},
        (429, None, None),
    ),
    "quota": (QUOTA, (429, "insufficient_quota", "insufficient_quota")),
    "long": (LONG, (400, "bad", "context_length_exceeded")),
    "filter": (
        {"status": 400, "message": "Filtered.", "code": "content_filter"},
        (400, None, "content_filter"),
    ),
    "broken": ({"status": 500, "message": "Broken."}, (500, None, None)),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_refuses_is_the_error_that_chat_completions_answer(
    store: Store, gateway: Gateway, name: str, stream: bool
) -> None:
    fail, (status, type, code) = REFUSALS[name]
    async with worker(store, gateway) as one:
        call = one.stream if stream else one.create
        error = await refused(call(script({"fail": fail})))
        assert (error.status, error.message) == (status, fail["message"])
        assert type in (None, error.type)
        assert code in (None, error.code)
        if name == "rate":
            assert (error.type, error.code, error.headers) == (
                "requests",
                "rate_limit_exceeded",
                {"Retry-After": "0"},
            )


@pytest.mark.parametrize("stream", [False, True])
async def test_so_is_a_response_that_is_not_stored(store: Store, gateway: Gateway, stream: bool) -> None:
    async with worker(store, gateway) as one:
        call = one.stream if stream else one.create
        error = await refused(call(script({"fail": QUOTA}), store=False))
        assert (error.status, error.code) == (429, "insufficient_quota")


async def test_a_provider_that_refuses_after_retries_still_has_its_status(
    store: Store, gateway: Gateway
) -> None:
    async with worker(store, gateway) as one:
        fail = {"status": 429, "message": "Slow down.", "retry_after": 1}
        error = await refused(one.stream(script({"fail": fail})))
        assert (error.status, error.headers) == (429, {"Retry-After": "1"})


@pytest.mark.parametrize(
    ("fail", "code"),
    [
        (LONG, "context_length_exceeded"),
        (QUOTA, "insufficient_quota"),
        ({"status": 429, "message": "Slow down."}, "rate_limit_exceeded"),
        ({"status": 400, "message": "An odd image.", "code": "invalid_image_format"}, "invalid_image_format"),
        ({"status": 400, "message": "Too odd.", "code": "too_odd"}, "invalid_prompt"),
        ({"status": 401, "message": "Wrong key.", "code": "invalid_api_key"}, "server_error"),
    ],
)
async def test_a_response_that_failed_has_a_code_of_openai(
    store: Store, gateway: Gateway, fail: JSON, code: str
) -> None:
    async with worker(store, gateway) as one:
        turn = script({"fail": fail, "wait": 1})
        events = parsed(b"".join([piece async for piece in await one.stream(turn)]))
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"] == {"code": code, "message": fail["message"]}
        in_background = await one.create(script({"fail": fail}), background=True)
        ended = await one.ended(in_background["id"])
        assert ended["error"] == {"code": code, "message": fail["message"]}
