"""Which deployment answers: weights, the least busy one, the quickest, one for each conversation; fallbacks."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ProviderBroken, ProviderError, ProviderLimited, ProviderRejected, ProviderTimeout
from inference.gateway import CallerPolicy, Credentials, Gateway, Routes
from inference.gateway.routing.cooldowns import Cooldowns
from inference.gateway.routing.deployments import Deployments
from inference.gateway.routing.error_classes import error_class
from inference.gateway.routing.routes import Route
from inference.gateway.routing.targets import CooldownRule, Target
from persistence.types import JSON
from tests.provider import ProviderProcess

pytestmark = pytest.mark.usefixtures("tag")

Make = Callable[[str], Any]


@pytest.fixture
async def make(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Make]:
    """Makes an open gateway of the models of a file; its providers are p, q and the unreachable gone."""
    gateways = []

    async def made(models: str, **options: Any) -> Gateway:
        path = tmp_path / "models.yaml"
        path.write_text(f"""
providers:
  p: {{base_url: "{provider.url}", retries: 0}}
  q: {{base_url: "{provider.url}", retries: 0}}
  gone: {{base_url: "http://127.0.0.1:1/v1", retries: 0}}
models:
{models}
""")
        gateway = Gateway(Routes.from_file(path, {}), **options)
        await gateway.open()
        gateways.append(gateway)
        return gateway

    yield made
    for gateway in gateways:
        await gateway.close()


def request(tag: str, model: str = "m", fields: JSON | None = None, **by_model: JSON) -> JSON:
    """A chat request to which each upstream model gives its own answer."""
    script = json.dumps({"tag": tag, "by_model": {name: [turn] for name, turn in by_model.items()}})
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"script: {script}"}],
        **(fields or {}),
    }


def asked(provider: ProviderProcess, tag: str) -> list[str]:
    return [record["body"]["model"] for record in provider.received(tag)]


def text_of(answer: JSON) -> str:
    return str(answer["choices"][0]["message"]["content"])


def failing(status: int, message: str = "no", **fields: Any) -> JSON:
    return {"fail": {"status": status, "message": message, **fields}}


TWO = "  m: {deployments: [{provider: p, model: a}, {provider: q, model: b}]}"
FIRST = "  m: {deployments: [{provider: p, model: a}, {provider: q, model: b, weight: 0}]}"
"""Asks b only where a does not answer."""


# --- strategies ---


def targets(*weights: float) -> tuple[Target, ...]:
    return tuple(Target("p", "openai", f"m{place}", weight=weight) for place, weight in enumerate(weights))


def firsts(deployments: Deployments, route: Route, keys: list[bytes | None]) -> Counter[str]:
    return Counter(deployments.ordered(route, key, is_stream=False)[0][0].model for key in keys)


@pytest.fixture
def deployments() -> Deployments:
    return Deployments(Cooldowns())


@pytest.mark.parametrize("keyed", [False, True])
def test_deployments_are_asked_in_proportion_to_their_weights(deployments: Deployments, keyed: bool) -> None:
    route = Route("m", "chat", targets(1, 3, 0))
    keys = [b"%d" % number if keyed else None for number in range(4000)]
    counts = firsts(deployments, route, keys)
    assert counts["m0"] + counts["m1"] == 4000
    assert 0.22 < counts["m0"] / 4000 < 0.28


def test_a_conversation_moves_only_if_its_deployment_goes(deployments: Deployments) -> None:
    keys = [b"%d" % number for number in range(300)]
    three = targets(1, 1, 1)

    def homes(among: tuple[Target, ...]) -> list[str]:
        route = Route("m", "chat", among)
        return [deployments.ordered(route, key, is_stream=False)[0][0].model for key in keys]

    before, after = homes(three), homes(three[:2])
    assert homes(three) == before
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "m2")
    assert {new for old, new in zip(before, after, strict=True) if old == "m2"} == {"m0", "m1"}


def test_the_least_busy_deployment_is_the_one_with_the_fewest_open_requests_for_its_weight(
    deployments: Deployments,
) -> None:
    route = Route("m", "chat", targets(1, 4), strategy="least_busy")
    deployments.state("p/m0").open, deployments.state("p/m1").open = 1, 3
    assert firsts(deployments, route, [None] * 20) == {"m1": 20}
    deployments.state("p/m1").open = 5
    assert firsts(deployments, route, [None] * 20) == {"m0": 20}


def test_the_quickest_deployment_is_asked_and_a_slow_one_is_tried_again_later() -> None:
    now = 1000.0
    deployments = Deployments(Cooldowns(), lambda: now)
    one, two = targets(1, 1)
    route = Route("m", "chat", (one, two), strategy="lowest_latency")
    deployments.succeeded(one, 0.2, is_stream=False)
    assert firsts(deployments, route, [None] * 9) == {"m1": 9}, "nothing is known of it"
    deployments.succeeded(two, 0.9, is_stream=False)
    deployments.state(one.key).asked_at = deployments.state(two.key).asked_at = now
    assert firsts(deployments, route, [None] * 9) == {"m0": 9}
    now += 200
    deployments.state(one.key).asked_at = now
    assert firsts(deployments, route, [None] * 9) == {"m1": 9}


def test_latencies_of_streams_and_of_whole_answers_are_apart() -> None:
    deployments = Deployments(Cooldowns(), lambda: 0.0)
    one, two = targets(1, 1)
    route = Route("m", "chat", (one, two), strategy="lowest_latency")
    for target, is_stream, seconds in ((one, True, 0.1), (two, True, 0.2), (one, False, 9), (two, False, 8)):
        deployments.succeeded(target, seconds, is_stream=is_stream)
    assert deployments.ordered(route, None, is_stream=True)[0][0] is one
    assert deployments.ordered(route, None, is_stream=False)[0][0] is two


async def test_open_streams_count_as_busy_until_they_end(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(TWO.replace("m: {", "m: {strategy: least_busy, "))
    said = request(tag, a={"text": "x y", "delay": 0.01}, b={"text": "x y", "delay": 0.01})
    opened = [gateway.relay(said) for _ in range(6)]
    for stream in opened:
        await anext(stream)
    assert Counter(asked(provider, tag)) == {"a": 3, "b": 3}
    for stream in opened:
        await stream.aclose()
    assert [gateway.deployments.state(key).open for key in ("p/a", "q/b")] == [0, 0]


# --- conversations ---


async def test_the_requests_of_one_conversation_go_to_one_deployment(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(TWO)
    homes = []
    for conversation in range(12):
        said = request(f"{tag}-{conversation}")
        first = [{"role": "system", "content": "Be brief."}, *said["messages"]]
        for turns in range(1, 4):
            answers = [
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "Go on."},
            ] * turns
            await gateway.complete({**said, "messages": [*first, *answers]})
        homes.append(set(asked(provider, f"{tag}-{conversation}")))
    assert all(len(home) == 1 for home in homes)
    assert {model for home in homes for model in home} == {"a", "b"}


@pytest.mark.parametrize("given", ["prompt_cache_key", "conversation"])
async def test_a_prompt_cache_key_and_a_conversation_have_their_deployment_from_the_first_request_on(
    make: Make, provider: ProviderProcess, tag: str, given: str
) -> None:
    gateway = await make(TWO)
    homes = []
    for number in range(12):
        name = f"{tag}-{number}"
        for _ in range(3):
            if given == "conversation":
                async with aclosing(gateway.chunks(request(name), conversation=name)) as chunks:
                    assert [chunk async for chunk in chunks]
            else:
                await gateway.complete(request(name, fields={"prompt_cache_key": name}))
        homes.append(set(asked(provider, name)))
    assert all(len(home) == 1 for home in homes)
    assert {model for home in homes for model in home} == {"a", "b"}


async def test_a_conversation_goes_elsewhere_while_its_deployment_cools_down(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(TWO)
    said = request(tag, fields={"prompt_cache_key": tag})
    await gateway.complete(said)
    (home,) = asked(provider, tag)
    gateway.deployments.cooldowns.start("p/a" if home == "a" else "q/b", 60, "rate_limit")
    await gateway.complete(said)
    gateway.deployments.cooldowns.lift("p/a" if home == "a" else "q/b")
    await gateway.complete(said)
    other = "b" if home == "a" else "a"
    assert asked(provider, tag) == [home, other, home]


# --- failures ---


@pytest.mark.parametrize("status", [0, 401, 403, 404, 408, 429, 500, 503])
async def test_another_deployment_answers_at_once_where_one_fails(
    make: Make, provider: ProviderProcess, tag: str, status: int
) -> None:
    gateway = await make(FIRST.replace("model: a", "model: a, retries: 3"))
    said = request(tag, a=failing(status, retry_after=15), b={"text": "from b"})
    assert text_of(await gateway.complete(said)) == "from b"
    assert asked(provider, tag) == ["a", "b"]


async def test_an_invalid_request_is_asked_once(make: Make, provider: ProviderProcess, tag: str) -> None:
    gateway = await make(FIRST)
    with pytest.raises(ProviderRejected, match="wrong"):
        await gateway.complete(request(tag, a=failing(400, "wrong")))
    assert asked(provider, tag) == ["a"]


async def test_a_deployment_is_retried_when_all_have_failed(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(FIRST.replace("model: a", "model: a, retries: 1"))
    said = request(tag, a={**failing(503, times=1), "text": "up again"}, b=failing(404))
    assert text_of(await gateway.complete(said)) == "up again"
    assert asked(provider, tag) == ["a", "b", "a"]


async def test_a_deployment_with_all_its_requests_open_is_left_out_and_a_full_route_is_a_429(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(
        "  m: {deployments: [{provider: p, model: a, max_concurrent: 1}, "
        "{provider: q, model: b, max_concurrent: 1, weight: 0}]}"
    )
    said = request(tag, a={"text": "x y", "delay": 0.01}, b={"text": "x y", "delay": 0.01})
    one, two = gateway.relay(said), gateway.relay(said)
    await anext(one)
    await anext(two)
    assert asked(provider, tag) == ["a", "b"]
    with pytest.raises(ProviderLimited, match="1 open requests") as caught:
        await gateway.complete(said)
    assert caught.value.retry_after == 1
    await one.aclose()
    await gateway.complete(said)
    assert asked(provider, tag) == ["a", "b", "a"]
    assert not gateway.deployments.cooldowns.all()
    await two.aclose()


# --- cooldowns ---


async def test_a_deployment_cools_down_after_failures_in_a_row(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(FIRST.replace("model: a", "model: a, cooldown: {failures: 3, seconds: 60}"))
    said = request(tag, a=failing(500), b={"text": "b"})
    for _ in range(5):
        await gateway.complete(said)
    assert asked(provider, tag) == ["a", "b", "a", "b", "a", "b", "b", "b"]
    assert list(gateway.deployments.cooldowns.all()) == ["p/a"]


def test_failures_count_only_in_a_row_and_within_the_window() -> None:
    now = 1000.0
    deployments = Deployments(Cooldowns(), lambda: now)
    target = Target("p", "openai", "m", cooldown=CooldownRule(failures=2, window=10, seconds=60))
    broken = ProviderBroken("no")
    deployments.judge(target, broken)
    deployments.succeeded(target, 0.1, is_stream=False)
    deployments.judge(target, broken)
    now += 11
    deployments.judge(target, broken)
    assert not deployments.cooldowns.all()
    deployments.judge(target, broken)
    assert deployments.cooldowns.all()


async def test_the_retries_of_one_request_count_as_one_failure(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(
        "  m: {provider: p, model: a, retries: 2, fallbacks: [n]}\n  n: {provider: q, model: b}"
    )
    await gateway.complete(request(tag, a=failing(500), b={"text": "b"}))
    assert asked(provider, tag) == ["a", "a", "a", "b"]
    assert not gateway.deployments.cooldowns.all()


@pytest.mark.parametrize(
    ("status", "wait", "seconds"), [(401, None, 30), (429, None, 30), (429, 300, 300), (429, 9999, 3600)]
)
async def test_a_deployment_that_says_so_cools_down_at_once_for_as_long_as_it_says(
    make: Make, tag: str, status: int, wait: int | None, seconds: float
) -> None:
    gateway = await make(FIRST)
    fail = failing(status) if wait is None else failing(status, retry_after=wait)
    await gateway.complete(request(tag, a=fail, b={"text": "b"}))
    (cooldown,) = gateway.deployments.cooldowns.all().values()
    assert seconds - 5 < cooldown.until - time.time() <= seconds


async def test_deployments_that_all_cool_down_are_asked_all_the_same(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(FIRST)
    said = request(tag, a=failing(401, "key a", times=1), b=failing(401, "key b", times=1))
    with pytest.raises(ProviderRejected, match="key a"):
        await gateway.complete(said)
    assert len(gateway.deployments.cooldowns.all()) == 2
    await gateway.complete(said)
    assert asked(provider, tag) == ["a", "b", "a"]
    assert list(gateway.deployments.cooldowns.all()) == ["q/b"], "the one that has answered is well again"


async def test_a_pattern_has_deployments_of_which_each_model_cools_down_by_itself(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(
        '  "x-*": {deployments: [{provider: p, model: "a-*"}, {provider: q, model: "b-*", weight: 0}]}'
    )
    fail = {"a-1": failing(429), "a-3": failing(404)}
    for model in ("x-1", "x-1", "x-2", "x-3", "x-3", "x-3", "x-3"):
        await gateway.complete(request(tag, model, **fail))
    assert asked(provider, tag)[:4] == ["a-1", "b-1", "b-1", "a-2"]
    assert list(gateway.deployments.cooldowns.all()) == ["p/a-1"], "not a model that nobody has"


async def test_a_route_without_a_choice_never_cools_down(make: Make, tag: str) -> None:
    gateway = await make('  "x-*": {provider: p}')
    for number in range(5):
        with pytest.raises(ProviderError):
            await gateway.complete(request(tag, f"x-{number}", **{f"x-{number}": failing(401)}))
    assert not gateway.deployments.cooldowns.all()


async def test_a_callers_own_wrong_key_cools_nothing_down(make: Make, tag: str) -> None:
    gateway = await make(TWO, policy=CallerPolicy(accepts_credentials=True))
    credentials = Credentials(api_key="sk-wrong")
    with pytest.raises(ProviderRejected):
        await gateway.complete(request(tag, a=failing(401), b=failing(401)), credentials)
    assert not gateway.deployments.cooldowns.all()


async def test_a_stream_that_breaks_off_counts_as_a_failure(make: Make, tag: str) -> None:
    gateway = await make(FIRST.replace("model: a", "model: a, cooldown: {failures: 1}"))
    said = request(tag, a={"text": "x y z", "close_after": 1})
    frames = b"".join([frame async for frame in gateway.relay(said)])
    assert b'"error"' in frames
    assert list(gateway.deployments.cooldowns.all()) == ["p/a"]


# --- fallbacks ---

CHAIN = """
  m: {provider: p, model: a, fallbacks: {context_window: [long], content_policy: [free], rate_limit: [spare],
      server_error: [spare], default: [other]}}
  long: {provider: q, model: long}
  free: {provider: q, model: free}
  spare: {provider: q, model: spare}
  other: {provider: q, model: other}
"""


@pytest.mark.parametrize(
    ("fail", "answering"),
    [
        (failing(400, "too long", code="context_length_exceeded"), "long"),
        (failing(400, "This model's maximum context length is 8 tokens"), "long"),
        (failing(413, "too much"), "long"),
        (failing(400, "prompt is too long: 9 tokens > 8 maximum"), "long"),
        (failing(400, "The response was filtered", code="content_filter"), "free"),
        (failing(429), "spare"),
        (failing(500), "spare"),
        (failing(0), "spare"),
        (failing(401), "other"),
        (failing(404), "other"),
    ],
)
async def test_a_fallback_is_chosen_by_the_class_of_the_error(
    make: Make, provider: ProviderProcess, tag: str, fail: JSON, answering: str
) -> None:
    gateway = await make(CHAIN)
    frames = b"".join([frame async for frame in gateway.relay(request(tag, a=fail))])
    assert b'"error"' not in frames
    assert asked(provider, tag) == ["a", answering]


FILTERED: JSON = {"text": "", "finish_reason": "content_filter"}


async def answers(gateway: Gateway, said: JSON) -> list[str]:
    """The text, or else the finish reason, of the same request whole, as frames and as chunks."""
    whole = (await gateway.complete(said))["choices"][0]
    texts = [whole["message"]["content"] or whole["finish_reason"]]
    frames = b"".join([frame async for frame in gateway.relay(said)])
    assert frames.count(b"[DONE]") == 1
    framed = [json.loads(line[6:]) for line in frames.splitlines() if line.startswith(b"data: {")]
    for chunks in (framed, [chunk async for chunk in gateway.chunks(said)]):
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        texts.append(text or choices[-1]["finish_reason"])
    return texts


async def test_an_answer_that_is_all_filtered_falls_back_as_a_refused_request_does(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(CHAIN)
    assert await answers(gateway, request(tag, a=FILTERED, free={"text": "Fine."})) == ["Fine."] * 3
    assert asked(provider, tag) == ["a", "free"] * 3
    assert gateway.deployments.state("p/a").open == gateway.deployments.state("q/free").open == 0


@pytest.mark.parametrize("fallback", [FILTERED, failing(500), failing(400)])
async def test_a_filtered_answer_is_what_the_client_gets_if_no_fallback_has_another(
    make: Make, tag: str, fallback: JSON
) -> None:
    gateway = await make(CHAIN)
    assert await answers(gateway, request(tag, a=FILTERED, free=fallback)) == ["content_filter"] * 3
    assert gateway.deployments.state("p/a").open == gateway.deployments.state("q/free").open == 0


async def test_an_answer_that_is_filtered_behind_its_first_words_stays(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(CHAIN)
    said = request(tag, a={"text": "It is", "finish_reason": "content_filter"})
    assert await answers(gateway, said) == ["It is"] * 3
    assert asked(provider, tag) == ["a"] * 3


async def test_a_filtered_answer_stays_where_no_fallback_is_for_content_policy(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make("  m: {provider: p, model: a, fallbacks: [n]}\n  n: {provider: q, model: b}")
    assert await answers(gateway, request(tag, a=FILTERED)) == ["content_filter"] * 3
    assert asked(provider, tag) == ["a"] * 3


async def test_a_plain_list_of_fallbacks_is_not_for_requests_that_are_at_fault(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make("  m: {provider: p, model: a, fallbacks: [n]}\n  n: {provider: q, model: b}")
    for code in ("context_length_exceeded", "content_filter"):
        with pytest.raises(ProviderRejected):
            await gateway.complete(request(tag, a=failing(400, code=code)))
    assert asked(provider, tag) == ["a", "a"]


async def test_a_fallback_falls_back_by_its_own_list_and_each_name_is_asked_once(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(
        "  m: {provider: p, model: a, fallbacks: [n, o]}\n"
        "  n: {provider: q, model: b, fallbacks: [o]}\n"
        "  o: {provider: q, model: c}"
    )
    with pytest.raises(ProviderBroken, match="first"):
        await gateway.complete(request(tag, a=failing(500, "first"), b=failing(500), c=failing(500)))
    assert asked(provider, tag) == ["a", "b", "c"]


async def test_the_error_is_the_named_models_where_a_fallback_refuses_the_request(
    make: Make, tag: str
) -> None:
    gateway = await make("  m: {provider: p, model: a, fallbacks: [n]}\n  n: {provider: q, model: b}")
    small = failing(400, "too long", code="context_length_exceeded")
    with pytest.raises(ProviderBroken, match="overloaded"):
        await gateway.complete(request(tag, a=failing(503, "overloaded"), b=small))


async def test_a_fallback_answers_at_once_where_the_provider_asks_to_wait(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(
        "  m: {provider: p, model: a, retries: 2, fallbacks: {rate_limit: [n]}}\n  n: {provider: q, model: b}"
    )
    await gateway.complete(request(tag, a=failing(429, retry_after=15)))
    await gateway.complete(request(tag, a=failing(429, retry_after=15)))
    assert asked(provider, tag) == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Please reduce the length of the messages or completion.", "context_window"),
        ("The input (9 tokens) is longer than the model's context length (8 tokens).", "context_window"),
        ("the request exceeds the available context size", "context_window"),
        ("The input token count (9) exceeds the maximum number of tokens allowed (8).", "context_window"),
        ("Input is too long for requested model.", "context_window"),
        ("The prompt triggered Azure OpenAI's content management policy.", "content_policy"),
        ("'temperature' must be at most 2", None),
    ],
)
def test_the_words_of_providers_say_which_class_an_error_has(message: str, expected: str | None) -> None:
    assert error_class(ProviderRejected(message, status=400)) == expected


# --- timeouts and parameters ---


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


def test_the_smallest_window_of_the_deployments_is_the_models() -> None:
    one, two = targets(1, 1)
    route = Route("m", "chat", (replace(one, context_window=9000), replace(two, context_window=5000)))
    assert Gateway(Routes({"m": route})).context_window("m") == 5000
