"""Timeouts and fields that a route sets, forces and leaves out."""

import asyncio
import json
from dataclasses import replace

import pytest

from inference.errors import ProviderTimeout
from inference.gateway import Gateway, Routes
from inference.gateway.routing.routes import Route
from inference.gateway.routing.targets import Target
from persistence.types import JSON
from tests.inference.gateway.routed import FIRST, Make, make, request, text_of
from tests.provider import ProviderProcess

__all__ = ["make"]

pytestmark = pytest.mark.usefixtures("tag")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_provider_that_does_not_begin_in_time_is_left(make: Make, tag: str, streamed: bool) -> None:
    gateway = await make(FIRST.replace("model: a", "model: a, first_byte_timeout: 0.2"))
    said = request(tag, a={"text": "late", "wait": 30}, b={"text": "in time"})
    if streamed:
        assert b"time" in b"".join([frame async for frame in gateway.relay(said)])
    else:
        assert text_of(await gateway.complete(said)) == "in time"


async def test_a_slow_stream_ends_at_its_total_timeout(make: Make, tag: str) -> None:
    gateway = await make("  m: {provider: p, model: a, total_timeout: 0.5}")
    said = request(tag, a={"text": "x " * 100, "delay": 0.05})
    with pytest.raises(ProviderTimeout, match=r"did not finish its answer within 0\.5 seconds"):
        async for _ in gateway.chunks(said):
            pass
    with pytest.raises(ProviderTimeout, match="did not finish"):
        await gateway.complete(request(tag, a={"text": "late", "wait": 30}))


async def test_a_route_sets_forces_and_drops_fields(make: Make, provider: ProviderProcess, tag: str) -> None:
    gateway = await make(
        "  m: {provider: p, model: a, parameters: {temperature: 0.1, top_p: 0.5},\n"
        "      forced_parameters: {max_tokens: 7, user: null}, drop_params: [seed]}"
    )
    fields = {"temperature": 1, "max_tokens": 99, "user": "u", "seed": 1, "top_p": None}
    await gateway.complete(request(tag, fields=fields))
    (record,) = provider.received(tag)
    sent = {name: value for name, value in record["body"].items() if name not in ("model", "messages")}
    assert sent == {"temperature": 1, "top_p": 0.5, "max_tokens": 7}


async def test_what_a_provider_does_not_support_is_left_out_where_the_route_says_so(
    make: Make, tag: str
) -> None:
    gateway = await make("  m: {provider: p, model: a, drop_params: true, unknown_fields: refuse}")
    fields = {"top_k": 3, "temperature": 0.5}
    assert text_of(await gateway.complete(request(tag, fields=fields, a={"text": "ok"}))) == "ok"


async def test_a_field_that_a_provider_refuses_is_left_out_of_later_requests_too(tag: str) -> None:
    received: list[JSON] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        body = json.loads(await reader.readexactly(length))
        received.append(body)
        refused = next((name for name in ("temperature", "max_tokens") if name in body), None)
        error = {"message": "no", "param": refused, "code": "unsupported_parameter"}
        answer: JSON = {"error": error}
        if refused is None:
            answer = {"choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}]}
        content, status = json.dumps(answer).encode(), 400 if "error" in answer else 200
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, len(content), content)
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    target = Target("p", "openai", "a", base_url=url, drops_unsupported=True)
    gateway = Gateway(Routes({"m": Route("m", "chat", (target,))}))
    await gateway.open()
    for _ in range(2):
        answer = await gateway.complete(request(tag, fields={"temperature": 1, "seed": 2, "max_tokens": 7}))
        assert text_of(answer) == "ok"
    refused = ["temperature", "max_tokens"]
    assert [[name in body for name in refused] for body in received] == [
        [True, True],
        [False, True],
        [False, False],
        [False, False],
    ]
    assert all("seed" in body for body in received)
    assert [body.get("max_completion_tokens") for body in received] == [None, None, 7, 7]
    await gateway.close()
    server.close()
    strict = replace(target, drops_unsupported=False)
    assert strict.key == target.key
