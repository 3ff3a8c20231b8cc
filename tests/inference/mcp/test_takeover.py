"""A worker that is lost at any write of a response with an approved call: nothing is called twice."""

import asyncio
import secrets

import pytest

from handlers import responses
from inference.gateway import Gateway
from inference.mcp.tool import MCPType
from persistence.store import Store
from persistence.types import JSON
from tests.inference.engine.mortal import MortalStore
from tests.inference.engine.process import script
from tests.inference.responses.worker import text_of, worker
from tests.mcp_servers import MCPProcess

LEASE = 0.6


async def survive(
    store: Store,
    gateway: Gateway,
    tools: dict[str, MCPType],
    mcp: MCPProcess,
    mortal: MortalStore,
    *,
    live: bool,
) -> str:
    """Let one worker begin a response with an approved call and die; another one finishes it.

    Return how the call ended.
    """
    what, seen = secrets.token_hex(8), list[JSON]()
    server = {"type": "mcp", "server_label": "tools", "server_url": f"{mcp.url}/mcp"}
    delete = {"calls": [{"name": "tools__delete_all", "arguments": {"what": what}}]}
    async with worker(store, gateway, tools=tools) as before:
        asked = await before.create(script(delete, {"text": "Done."}), tools=[server])
    answer = {
        "type": "mcp_approval_response",
        "approval_request_id": asked["output"][1]["id"],
        "approve": True,
    }
    body = {
        "model": "m",
        "input": [answer],
        "previous_response_id": asked["id"],
        "tools": [server],
        "background": True,
        "stream": live,
    }
    async with worker(mortal, gateway, tools=tools, lease=LEASE) as first:  # type: ignore[arg-type]
        request = await responses.checked_request(first.context(), body)
        await mortal.live_through(first.follow(request, seen))
    async with worker(store, gateway, tools=tools, lease=LEASE) as second:
        response = await second.ended(request.id, 60)
        await second.check_log(response, seen)
    assert (response["status"], text_of(response)) == ("completed", "Done.")
    (called,) = [item for item in response["output"] if item["type"] == "mcp_call"]
    calls = [each for each in mcp.seen() if (each["params"].get("arguments") or {}).get("what") == what]
    assert len(calls) <= 1
    if called["status"] == "completed":
        assert (called["output"], len(calls)) == (f"Deleted all {what}.", 1)
    else:
        assert "not known" in called["error"]["message"]
    return str(called["status"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("live", [True, False], ids=["live", "background"])
async def test_an_approved_call_is_not_repeated_when_its_worker_is_lost(
    store: Store, gateway: Gateway, tools: dict[str, MCPType], mcp: MCPProcess, live: bool
) -> None:
    whole = MortalStore(store)
    await survive(store, gateway, tools, mcp, whole, live=live)
    writes = range(len(whole.writes))
    assert writes
    mortals = [MortalStore(store, at=at, how=how) for at in writes for how in ("before", "after")]
    ends = await asyncio.gather(*(survive(store, gateway, tools, mcp, each, live=live) for each in mortals))
    assert {*ends} == {"completed", "failed"}
