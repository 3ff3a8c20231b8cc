"""Which deployment answers: weights, the least busy one, the quickest, one for each conversation."""

import time
from collections import Counter
from contextlib import aclosing
from dataclasses import replace

import pytest

from inference.errors import ProviderBroken, ProviderError, ProviderLimited, ProviderRejected
from inference.gateway import CallerPolicy, Credentials, Gateway, Routes
from inference.gateway.routing.cooldowns import Cooldowns
from inference.gateway.routing.deployments import Deployments
from inference.gateway.routing.routes import Route
from inference.gateway.routing.targets import CooldownRule, Target
from tests.inference.gateway.routed import FIRST, TWO, Make, asked, failing, make, request, text_of
from tests.provider import ProviderProcess

__all__ = ["make"]

pytestmark = pytest.mark.usefixtures("tag")


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


# --- context windows ---


def test_the_smallest_window_of_the_deployments_is_the_models() -> None:
    one, two = targets(1, 1)
    route = Route("m", "chat", (replace(one, context_window=9000), replace(two, context_window=5000)))
    assert Gateway(Routes({"m": route})).context_window("m") == 5000
