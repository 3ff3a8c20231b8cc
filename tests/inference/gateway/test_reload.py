"""models.yaml read again while requests go on."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inference.errors import ModelNotFound, RoutesRefused
from inference.gateway import Gateway, Routes
from inference.gateway.routing.reload import RoutesReloader
from persistence.types import JSON
from tests.provider import ProviderProcess


class Reloaded:
    """A gateway over a file, and what reads the file again."""

    def __init__(self, path: Path, provider: ProviderProcess) -> None:
        self.path = path
        self._provider = provider
        self.write("m: {provider: p, model: a}")
        self.gateway = Gateway(self.read(path))
        self.reloader = RoutesReloader(self.gateway, path, self.read)

    @staticmethod
    def read(path: Path) -> Routes:
        return Routes.from_file(path, {"KEY": os.environ.get("TEST_KEY", "sk-one")})

    def write(self, models: str, rest: str = "") -> None:
        self.path.write_text(f"""
providers:
  p: {{base_url: "{self._provider.url}", retries: 0, api_key: "${{KEY}}"}}
models:
  {models}
{rest}
""")


@pytest.fixture
async def reloaded(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Reloaded]:
    made = Reloaded(tmp_path / "models.yaml", provider)
    await made.gateway.open()
    await made.reloader.open()
    yield made
    await made.reloader.close()
    await made.gateway.close()


def said(tag: str, **turn: Any) -> JSON:
    script = json.dumps({"tag": tag, "turns": [turn]})
    return {"model": "m", "messages": [{"role": "user", "content": f"script: {script}"}]}


async def test_a_stream_ends_by_the_routes_that_it_began_with(
    reloaded: Reloaded, provider: ProviderProcess, tag: str
) -> None:
    stream = reloaded.gateway.relay(said(tag, text="one two three", delay=0.01))
    async with aclosing(stream):
        first = await anext(stream)
        reloaded.write("m: {provider: p, model: b}\n  n: {provider: p}")
        assert await reloaded.reloader.reload()
        rest = [piece async for piece in stream]
    assert b"three" in (first + b"".join(rest))
    assert rest[-1].endswith(b"data: [DONE]\n\n")
    await reloaded.gateway.complete(said(tag))
    assert [record["body"]["model"] for record in provider.received(tag)] == ["a", "b"]
    assert provider.received(tag)[0]["ended"] == "complete"
    assert [model["id"] for model in await reloaded.gateway.list_models()] == ["m", "n"]


@pytest.mark.parametrize("broken", ["m: {provider: nobody}", "m: [", "m: {provider: local}"])
async def test_a_file_that_cannot_be_used_leaves_the_old_routes_and_its_line_in_the_log(
    reloaded: Reloaded, tag: str, broken: str
) -> None:
    reloaded.write(broken)
    with capture_logs() as logs:
        assert not await reloaded.reloader.reload()
    (line,) = [line for line in logs if line["event"] == "routes_not_reloaded"]
    assert "line " in line["reason"] or "restart" in line["reason"]
    assert await reloaded.gateway.complete(said(tag))
    reloaded.path.unlink()
    assert not await reloaded.reloader.reload()
    assert await reloaded.gateway.complete(said(tag))


async def test_connections_to_a_provider_are_kept(
    reloaded: Reloaded, provider: ProviderProcess, tag: str
) -> None:
    await reloaded.gateway.complete(said(tag))
    reloaded.write("m: {provider: p, model: b}")
    await reloaded.reloader.reload()
    await reloaded.gateway.complete(said(tag))
    assert len({record["connection"] for record in provider.received(tag)}) == 1


async def test_a_name_that_is_gone_is_not_served_any_more(reloaded: Reloaded) -> None:
    reloaded.gateway.check_model("m")
    reloaded.write("n: {provider: p, context_window: 77}")
    await reloaded.reloader.reload()
    with pytest.raises(ModelNotFound):
        reloaded.gateway.check_model("m")
    assert reloaded.gateway.context_window("n") == 77


async def test_a_cooldown_ends_where_the_account_was_changed(
    reloaded: Reloaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    cooldowns = reloaded.gateway.deployments.cooldowns
    cooldowns.start("p/a", 60, "default")
    cooldowns.start("q/a", 60, "default")
    await reloaded.reloader.reload()
    assert set(cooldowns.all()) == {"p/a", "q/a"}
    monkeypatch.setenv("TEST_KEY", "sk-two")
    await reloaded.reloader.reload()
    assert set(cooldowns.all()) == {"q/a"}


async def test_a_file_that_has_changed_before_a_worker_starts_is_read_at_its_start(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    made = Reloaded(tmp_path / "models.yaml", provider)
    made.write("new: {provider: p}")
    await made.gateway.open()
    await made.reloader.open()
    made.gateway.check_model("new")
    await made.reloader.close()
    await made.gateway.close()


@pytest.mark.parametrize(
    ("models", "rest", "event"),
    [
        ("e: {provider: p, kind: embedding}", "embedding_model: e", None),
        ("e: {provider: p, kind: embedding, model: f}", "embedding_model: e", "embedding_model_rerouted"),
        ("f: {provider: p, kind: embedding}", "embedding_model: f", "embedding_model_removed"),
        (
            "f: {provider: p, kind: embedding}\n  e: {provider: p, kind: embedding}",
            "embedding_model: f",
            "embedding_model_changed",
        ),
    ],
)
async def test_what_a_change_of_the_embedding_model_means_is_logged(
    reloaded: Reloaded, models: str, rest: str, event: str | None
) -> None:
    reloaded.write("e: {provider: p, kind: embedding}", "embedding_model: e")
    await reloaded.reloader.reload()
    reloaded.write(models, rest)
    with capture_logs() as logs:
        await reloaded.reloader.reload()
    warned = [line["event"] for line in logs if line["event"].startswith("embedding_model")]
    assert (event in warned) if event else not warned
    assert reloaded.gateway.default_embedding_model() == rest.removeprefix("embedding_model: ")


async def test_the_local_models_need_a_start_of_the_server(tmp_path: Path) -> None:
    gateway = Gateway(Routes.from_environment("sk", "http://127.0.0.1:1/v1"))
    with pytest.raises(RoutesRefused, match="restart"):
        await gateway.use(Routes.local())
