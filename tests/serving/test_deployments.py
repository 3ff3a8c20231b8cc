"""Deployments of a live server: a cooldown that its workers share, its metrics, `astrolabe models`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.provider import ProviderProcess
from tests.server import Server, command, until

MODELS = """
providers:
  p: {{base_url: "{url}", retries: 0}}
  q: {{base_url: "{url}", retries: 0, api_key: "${{Q_KEY}}"}}
models:
  m:
    deployments: [{{provider: p, model: a, weight: 3}}, {{provider: q, model: b, weight: 0}}]
    fallbacks: {{rate_limit: [n], default: [n]}}
  n: {{provider: q, model: c}}
  e: {{provider: q, kind: embedding}}
  "gpt-*": {{provider: q}}
embedding_model: e
"""


@pytest.fixture
def models(tmp_path: Path, provider: ProviderProcess) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(MODELS.format(url=provider.url))
    return path


@pytest.fixture
def server(tmp_path: Path, models: Path) -> Iterator[Server]:
    with Server(tmp_path, ASTROLABE_MODELS=str(models), Q_KEY="sk-of-q") as server:
        yield server


@pytest.mark.server
def test_workers_share_a_cooldown_which_the_command_and_the_metrics_show(
    server: Server, models: Path, provider: ProviderProcess, tag: str
) -> None:
    script = {"tag": tag, "by_model": {"a": [{"fail": {"status": 429, "retry_after": 120}}]}}
    body = {"model": "m", "messages": [{"role": "user", "content": f"script: {json.dumps(script)}"}]}

    def ask() -> None:
        answer = httpx.post(f"{server.url}/chat/completions", json=body, headers={"connection": "close"})
        assert answer.status_code == 200

    def asked_of(model: str) -> int:
        return sum(record["body"]["model"] == model for record in provider.received(tag))

    ask()

    def all_workers_know() -> bool:
        before = asked_of("a")
        for _ in range(12):
            ask()
        return asked_of("a") == before

    until(all_workers_know, seconds=20)
    assert asked_of("a") <= 4, "each worker asks it once, but for a request at the same time"
    total = asked_of("a") + asked_of("b")

    environment = {
        "ASTROLABE_MODELS": str(models),
        "ASTROLABE_STORE": server.environment["ASTROLABE_STORE"],
        "Q_KEY": "sk-of-q",
    }
    listed = command(models.parent, "models", **environment)
    assert re.search(
        r"^m +a at p, weight 3 or b at q, weight 0 \(chat, weighted\)$", listed.stdout, re.MULTILINE
    )
    assert re.search(r"p/a cools down for 1[01]\d s \(rate_limit\)", listed.stdout)
    assert "falls back after rate_limit to n" in listed.stdout
    assert "sk-of-q" not in listed.stdout + listed.stderr

    def metrics() -> str:
        return httpx.get(f"{server.root}/metrics").text

    def counted(outcome: str) -> float:
        pattern = rf'astrolabe_provider_requests_total{{deployment="(?:p/a|q/b)",outcome="{outcome}",route="m"}} (\S+)'
        return sum(map(float, re.findall(pattern, metrics())))

    until(lambda: counted("rate_limit") + counted("ok") == total, seconds=5)
    assert counted("rate_limit") == asked_of("a")
    text = metrics()
    assert re.search(
        r'astrolabe_deployment_cooldowns_total{deployment="p/a",error_class="rate_limit"} [12]\.0', text
    )
    assert re.search(r'astrolabe_provider_seconds_count{deployment="q/b",route="m"}', text)
    assert re.search(r'astrolabe_deployment_cooldown_end_seconds{deployment="p/a"} \d', text)


@pytest.mark.server
def test_a_model_that_a_pattern_was_asked_for_is_no_label(server: Server, tag: str) -> None:
    body = {"model": f"gpt-{tag}", "messages": [{"role": "user", "content": "hello"}]}
    assert httpx.post(f"{server.url}/chat/completions", json=body).status_code == 200

    def metrics() -> str:
        return httpx.get(f"{server.root}/metrics").text

    until(lambda: 'deployment="q/gpt-*"' in metrics(), seconds=5)
    assert tag not in metrics()


def test_a_file_is_checked_without_a_server(models: Path) -> None:
    found = command(models.parent, "models", "check", str(models), Q_KEY="sk-of-q")
    assert (found.returncode, found.stdout) == (
        0,
        f"{models} can be used: 4 names, 5 deployments, 2 providers.\n",
    )
    unset = command(models.parent, "models", "check", str(models))
    assert unset.returncode == 1
    assert f"{models}, line 4: providers.q.api_key: the environment variable Q_KEY is not set" in unset.stderr
    models.write_text(
        "models:\n  a: {provider: local, fallbacks: [b]}\n  b: {provider: local, fallbacks: [a]}\n"
    )
    loop = command(models.parent, "models", "check", str(models))
    assert (loop.returncode, loop.stdout) == (1, "")
    assert "is a loop: a → b → a" in loop.stderr


def test_a_live_check_asks_each_deployment_and_says_what_it_answered(models: Path) -> None:
    found = command(models.parent, "models", "check", "--live", str(models), Q_KEY="sk-of-q")
    assert found.returncode == 0, found.stdout
    lines = [line.split() for line in found.stdout.splitlines()[1:]]
    assert [line[:3] for line in lines] == [
        ["m", "p/a", "ok"],
        ["m", "q/b", "ok"],
        ["n", "q/c", "ok"],
        ["e", "q/e", "ok"],
        ["gpt-*", "q/gpt-*", "ok"],
    ]
    assert "64 dimensions" in found.stdout
    assert "lists 2 models for this pattern" in found.stdout


def test_a_live_check_fails_where_a_deployment_does(models: Path) -> None:
    models.write_text(models.read_text() + "\n")
    broken = models.read_text().replace(
        "  p: {base_url", '  p: {base_url: "http://127.0.0.1:1/v1"}\n  r: {base_url'
    )
    models.write_text(broken)
    found = command(models.parent, "models", "check", "--live", str(models), Q_KEY="sk-of-q")
    assert found.returncode == 1
    assert re.search(r"^m +p/a +FAILED .*cannot be reached", found.stdout, re.MULTILINE)
    assert re.search(r"^m +q/b +ok ", found.stdout, re.MULTILINE)
