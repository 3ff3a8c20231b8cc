import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import client
from bench.__main__ import choose, main, run
from bench.attack.__main__ import ATTACKS, broken_bars, name_of
from bench.attack.__main__ import main as attack
from bench.attack.arena import Result
from bench.attack.bystander import Latencies
from bench.catalogue import BENCHES, Bench
from bench.figures import Figure, at_least, at_least_times, at_most, table
from bench.load import BenchFailed
from bench.measuring import alternate, median_ratio, percentile
from bench.rig import Rig
from tests.provider import Provider, ProviderProcess


def test_a_figure_is_compared_with_its_bar() -> None:
    assert Figure("a", 3.0, "ms", bar=at_most(3)).holds is True
    assert Figure("a", 3.1, "ms", bar=at_most(3)).holds is False
    assert Figure("a", 9.0, "/s", "peer", 3.0, 2.4, bar=at_least_times(2.5)).holds is False
    assert Figure("a", 9.0, "/s").holds is None


def test_the_table_marks_missed_bars() -> None:
    lines = table(
        [Figure("slow", 1, "/s", bar=at_least(1000)), Figure("fast", 2000, "/s", bar=at_least(1000))]
    )
    assert ["MISSED" in line for line in lines.splitlines()[2:]] == [True, False]
    assert "≥ 1,000" in lines


def test_both_sides_alternate_in_starting_a_round() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    pairs = alternate(3, partial(side, "a", 1.0), partial(side, "b", 2.0))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert pairs == [(1.0, 2.0)] * 3


def test_one_disturbed_round_does_not_change_the_ratio() -> None:
    assert median_ratio([(10, 5), (1, 5), (11, 5.5)]) == 2


def test_percentiles_are_measured_values() -> None:
    assert percentile([3, 1, 2, 4], 0.5) == 3
    assert percentile([3, 1, 2, 4], 0.99) == 4


def test_a_bench_that_fails_does_not_stop_the_next(tmp_path: Path) -> None:
    def broken(_: Rig) -> Iterator[Figure]:
        yield Figure("measured before it broke", 1, "s")
        raise BenchFailed("no wrk")

    def sound(_: Rig) -> Iterator[Figure]:
        yield Figure("measured", 2, "s")

    said: list[str] = []
    benches = [Bench("broken", "breaks", broken), Bench("sound", "does not", sound)]
    figures, failures = run(benches, Rig(tmp_path, True, said.append))
    assert [figure.value for figure in figures] == [1, 2]
    assert failures == {"broken": "no wrk"}


def test_names_of_benches_are_unique() -> None:
    assert len({bench.name for bench in BENCHES}) == len(BENCHES)


def test_benches_that_need_a_cluster_are_left_out_without_one() -> None:
    assert not [bench for bench in choose((), {""}) if bench.needs]
    assert [bench.name for bench in choose(("get",), {""})] == ["get"]


def test_a_bench_without_its_peer_is_skipped_with_a_reason(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--only", "litellm", "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 0
    assert "litellm: skipped: LiteLLM's proxy is not installed here" in result.output


def test_the_refusal_of_an_unknown_name_lists_the_known_ones() -> None:
    result = CliRunner().invoke(main, ["--only", "nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output
    assert "open-streams" in result.output


async def test_the_client_counts_every_event_of_a_stream(provider: ProviderProcess) -> None:
    body = {"model": "bench-100", "messages": [{"role": "user", "content": "x"}], "stream": True}
    (answer,) = await client.each_in_turn(
        provider.port, [client.request("POST", "/v1/chat/completions", body)]
    )
    assert answer.is_whole
    assert answer.events >= 100
    assert 0 < answer.first <= answer.seconds


@pytest.mark.parametrize("cut", range(1, 20))
async def test_a_frame_counts_once_wherever_it_is_split(cut: int) -> None:
    connection = client.Connection(0)
    connection._answer, connection._pieces, connection._is_stream, connection._tail = (
        client.Answer(),
        [],
        True,
        b"",
    )
    connection._sent = 0.0
    stream = b"data: {}\n\ndata: []\n\n"
    connection.on_body(stream[:cut])
    connection.on_body(stream[cut:])
    assert connection._answer.events == 2


async def test_a_broken_stream_is_not_whole(provider: ProviderProcess) -> None:
    script = json.dumps({"turns": [{"text": "one two three", "error_after": 1}]})
    body = {"model": "m", "messages": [{"role": "user", "content": f"script: {script}"}], "stream": True}
    (answer,) = await client.each_in_turn(
        provider.port, [client.request("POST", "/v1/chat/completions", body)]
    )
    assert not answer.is_whole


async def test_a_connection_that_the_server_closed_is_known_as_closed() -> None:
    async with Provider() as provider, client.Connection(provider.port) as connection:
        await connection.send(client.request("GET", "/v1/models"))
        assert not connection.is_closed
        for served in provider.connections:
            served.transport.abort()
        async with asyncio.timeout(10):
            while not connection.is_closed:
                await asyncio.sleep(0.01)


def test_every_attack_says_what_it_does() -> None:
    lines = CliRunner().invoke(attack, ["--list"]).output.splitlines()
    assert [line.split()[0] for line in lines] == [name_of(each) for each in ATTACKS]
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, []),
        ({"during": Latencies((101.0,), (1.0,), 0)}, ["GETs"]),
        ({"during": Latencies((1.0,), (501.0,), 0)}, ["POSTs"]),
        ({"during": Latencies((1.0,), (1.0,), 1)}, ["failed requests"]),
        ({"after": Latencies((101.0,), (1.0,), 0)}, ["slow afterwards"]),
        ({"growth": 51.0}, ["memory"]),
        ({"killed": 1}, ["a killed worker"]),
        ({"worked": True}, ["what it reached"]),
    ],
)
def test_an_attack_is_held_to_each_bar(changes: dict[str, Any], broken: list[str]) -> None:
    quick = Latencies((1.0,), (1.0,), 0)
    result = Result(quick, quick, quick, 1, block=1, growth=0, peak=0, killed=0, outcome="200")
    assert broken_bars(replace(result, **changes)) == broken


def test_an_attack_that_cannot_be_measured_is_in_the_table_and_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unmeasurable(*_: Any, quick: bool) -> Result:
        raise BenchFailed(f"the server did not start, quick: {quick}")

    monkeypatch.setattr("bench.attack.__main__.perform", unmeasurable)
    result = CliRunner().invoke(attack, ["--only", "search"])
    assert result.exit_code == 1
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("search"))
    assert row.split(maxsplit=3)[1:] == [
        "NOT",
        "MEASURED",
        "BenchFailed: the server did not start, quick: False",
    ]
