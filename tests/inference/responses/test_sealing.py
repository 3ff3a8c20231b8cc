"""What items hold encrypted: who can read it, and what becomes of what nobody can read."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inference.gateway import Gateway, Routes
from inference.responses.sealing import ItemSealer
from persistence.store import Store
from persistence.types import JSON
from tests.contract.engines import ENGINES
from tests.inference.engine.conftest import Asked, asked
from tests.inference.engine.process import script
from tests.inference.engine.test_odd_providers import call, raw
from tests.inference.responses.worker import parsed, text_of, worker
from tests.provider import ProviderProcess

__all__ = ["asked"]

OLD, NEW = "the-older-secret", "the-newer-secret"
CONTENT = {"text": "Hm, 42?", "blocks": [{"type": "thinking", "signature": "s"}]}
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
ENCRYPTED = ["reasoning.encrypted_content"]


async def sealer(store: Store, *of_operator: str) -> ItemSealer:
    made = ItemSealer(store, of_operator)
    await made.open()
    return made


def sealed(by: ItemSealer, project: str = "p", type: str = "reasoning") -> JSON:
    return {"id": "rs_1", "type": type, "encrypted_content": by.seal(project, type, CONTENT)}


@pytest.mark.parametrize("store", ENGINES, indirect=True)
async def test_workers_without_a_secret_share_a_key_that_they_make_at_once(store: Store) -> None:
    made = await asyncio.gather(*(sealer(store) for _ in range(8)))
    texts = {one.seal("p", "reasoning", CONTENT) for one in made}
    assert len(texts) == 1
    assert all(one.unseal("p", sealed(made[0])) == CONTENT for one in [*made, await sealer(store)])


async def test_a_secret_can_be_changed_and_the_old_one_still_reads(store: Store) -> None:
    before, between, after = [await sealer(store, *each) for each in ((OLD,), (NEW, OLD), (NEW,))]
    assert between.unseal("p", sealed(before)) == CONTENT
    assert after.unseal("p", sealed(between)) == CONTENT
    assert after.unseal("p", sealed(before)) is None


async def test_what_the_stores_key_encrypted_is_read_after_a_secret_was_set(store: Store) -> None:
    without = await sealer(store)
    set_later = await sealer(store, NEW)
    assert set_later.unseal("p", sealed(without)) == CONTENT
    assert without.unseal("p", sealed(set_later)) is None


async def test_with_a_secret_no_key_is_stored(store: Store) -> None:
    await sealer(store, NEW)
    assert [one async for one in store.export()] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"encrypted_content": "garbage"},
        {"encrypted_content": "gAAAAABotherproviders"},
        {"encrypted_content": "ÄÖÜ" * 10},
        {"type": "compaction"},
    ],
    ids=["garbage", "another provider's", "no base64", "another type"],
)
async def test_what_cannot_be_read_is_none_and_logged(store: Store, changes: JSON) -> None:
    one = await sealer(store, NEW)
    with capture_logs() as logs:
        assert one.unseal("p", {**sealed(one), **changes}) is None
    assert [entry["event"] for entry in logs] == ["sealed_content_unreadable"]
    assert one.unseal("p", {"id": "rs_1", "type": "reasoning"}) is None


async def test_every_changed_or_missing_character_makes_a_content_unreadable(store: Store) -> None:
    one = await sealer(store, NEW)
    text = one.seal("p", "reasoning", CONTENT)
    for at in range(len(text)):
        for changed in (text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1 :], text[:at]):
            found = one.unseal("p", {"type": "reasoning", "encrypted_content": changed})
            assert found is None, changed


async def test_what_belongs_to_one_project_cannot_be_read_in_another(store: Store) -> None:
    one = await sealer(store, NEW)
    assert one.unseal("q", sealed(one)) is None


# --- in responses ---


def thinking(tag: str, reasoning: str = "It may rain. ") -> str:
    return script({"reasoning": reasoning, "calls": [CALL]}, {"text": "Sunny."}, {"text": "Aye."}, tag=tag)


def answered(output: list[JSON]) -> list[JSON]:
    """The output as Codex sends it back with the result of its call."""
    (asks,) = [item for item in output if item["type"] == "function_call"]
    given = [
        {**item, "content": None, "summary": []} if item["type"] == "reasoning" else item for item in output
    ]
    return [*given, {"type": "function_call_output", "call_id": asks["call_id"], "output": "sunny"}]


def assistants(body: JSON) -> list[JSON]:
    return [message for message in body["messages"] if message["role"] == "assistant"]


async def test_a_client_that_keeps_its_state_gives_the_model_its_thinking_back(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    said = thinking(asked.tag)
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        first = await one.create(said, store=False, include=ENCRYPTED, tools=[WEATHER])
        user = {"role": "user", "content": said}
        input = [user, *answered(first["output"])]
        second = await other.create(input, store=False, include=ENCRYPTED, tools=[WEATHER])
    assert text_of(second) == "Sunny."
    (message,) = assistants(asked.all()[-1])
    assert message["reasoning_content"] == "It may rain. "
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["get_weather"]


async def test_a_chain_gives_the_model_its_thinking_back(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    async with worker(store, gateway) as one:
        first = await one.create(thinking(asked.tag), tools=[WEATHER])
        assert all("encrypted_content" not in item for item in first["output"])
        output = answered(first["output"])[-1]
        await one.create([output], previous_response_id=first["id"], tools=[WEATHER])
    assert assistants(asked.all()[-1])[0]["reasoning_content"] == "It may rain. "


@pytest.mark.parametrize("how", ["of another project", "of a lost key", "garbage"])
async def test_reasoning_that_cannot_be_read_is_left_out_and_the_conversation_goes_on(
    store: Store, gateway: Gateway, asked: Asked, how: str
) -> None:
    said = thinking(asked.tag)
    lost = ItemSealer(store, (OLD,)) if how == "of a lost key" else None
    async with worker(store, gateway, item_sealer=lost) as one, worker(store, gateway) as other:
        project = "q" if how == "of another project" else "p"
        first = await one.create(said, project=project, store=False, include=ENCRYPTED, tools=[WEATHER])
        items = answered(first["output"])
        if how == "garbage":
            items[0]["encrypted_content"] = "gAAAAAB" + secrets.token_hex(200)
        with capture_logs() as logs:
            second = await other.create([{"role": "user", "content": said}, *items], tools=[WEATHER])
    assert text_of(second) == "Sunny."
    assert "reasoning_content" not in assistants(asked.all()[-1])[0]
    assert [entry["event"] for entry in logs].count("sealed_content_unreadable") == 1


async def test_a_stream_rendered_again_has_the_same_encrypted_content(store: Store, gateway: Gateway) -> None:
    said = script({"reasoning": "Hm. " * 50, "text": "Forty-two."})
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        frames = await one.stream(said, include=ENCRYPTED)
        live = b"".join([piece async for piece in frames])
        assert live.count(b'"encrypted_content"') == 2
        id = parsed(live)[0]["response"]["id"]
        assert await one.frames(id) == await other.frames(id) == live


async def test_store_false_leaves_nothing_in_the_store(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        before = [record async for record in store.export()]
        await one.create(thinking(secrets.token_hex(8)), store=False, include=ENCRYPTED, tools=[WEATHER])
        assert [record async for record in store.export()] == before


SIGNATURE = {"google": {"thought_signature": "c2lnbmVk"}}


async def test_what_a_provider_wants_back_with_a_call_goes_through_a_client_that_keeps_its_state(
    store: Store, gateway: Gateway, asked: Asked
) -> None:
    function = {"name": "get_weather", "arguments": "{}"}
    first_call = call(index=0, id="call_1", type="function", function=function, extra_content=SIGNATURE)
    second = call(index=1, id="call_2", type="function", function=function)
    said = script(raw(first_call, second, finish="tool_calls"), {"text": "Sunny."}, tag=asked.tag)
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        fields: JSON = {"store": False, "tools": [WEATHER], "include": ENCRYPTED}
        frames = await one.stream(said, **fields)
        events = parsed(b"".join([piece async for piece in frames]))
        output = events[-1]["response"]["output"]
        assert [item["type"] for item in output] == ["reasoning", "function_call", "function_call"]
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert done == output
        outputs = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"}
            for item in output[1:]
        ]
        await other.create([{"role": "user", "content": said}, *output, *outputs], **fields)
        plain = await one.create(said, store=False, tools=[WEATHER])
        assert [item["type"] for item in plain["output"]] == ["function_call", "function_call"]
    (message,) = assistants(asked.all()[1])
    sent = [each.get("extra_content") for each in message["tool_calls"]]
    assert sent == [SIGNATURE, None]


# --- signed thinking ---


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("goes_on_with", ["anthropic", "other"])
async def test_signed_thinking_goes_back_to_the_provider_that_signed_it_alone(
    store: Store, provider: ProviderProcess, tmp_path: Path, tag: str, goes_on_with: str
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers:
  any: {{wire: litellm, base_url: "{provider.root}", api_key: any, retries: 0}}
  plain: {{wire: openai, base_url: "{provider.url}", api_key: any, retries: 0}}
models:
  anthropic: {{provider: any, model: anthropic/claude-sonnet-4-5}}
  other: {{provider: plain, model: m}}
""")
    gateway = Gateway(Routes.from_file(path, {}))
    await gateway.open()
    thinks: Any = {"thinking": "Paris, so ask.", "calls": [CALL]}
    said = script(thinks, {"text": "Sunny."}, tag=tag)
    fields = {"store": False, "include": ENCRYPTED, "tools": [WEATHER], "reasoning": {"effort": "low"}}
    async with worker(store, gateway) as one:
        first = await one.create(said, **{**fields, "model": "anthropic"}, max_output_tokens=3000)
        input = [{"role": "user", "content": said}, *answered(first["output"])]
        await one.create(input, **{**fields, "model": goes_on_with}, max_output_tokens=3000)
    await gateway.close()
    sent = json.dumps(provider.received(tag)[-1]["body"]["messages"][1:])
    assert ("Paris, so ask." in sent) == (goes_on_with == "anthropic")
    assert ("signature" in sent) == (goes_on_with == "anthropic")
