"""Any edition starts: shipped ones by name, others by path, from a cache or without one."""

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from spec import edition as module
from spec.edition import Edition, Served, load, served, shipped
from spec.errors import InvalidSpec
from tests.spec.shaped import edition

EDITIONS = Path(module.__file__).parent / "editions"
OPERATIONS = {
    "2024-04-12-assistants-v1": 52,
    "2024-04-30-assistants-v2": 64,
    "2025-04-29": 148,
    "2026-08-21": 288,
}


def lock() -> dict[str, list[str]]:
    lines = (EDITIONS / "editions.lock").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {name: rest for name, *rest in rows}


def test_every_edition_is_locked_and_none_was_changed() -> None:
    rows = lock()
    assert sorted(rows) == shipped()
    for name, (revision, upstream, here) in rows.items():
        assert len(revision) == 40
        assert len(upstream) == 64
        assert hashlib.sha256((EDITIONS / f"{name}.yaml").read_bytes()).hexdigest() == here


def test_an_edition_has_the_operations_of_upstream(editions: dict[str, Edition]) -> None:
    for name, count in OPERATIONS.items():
        assert sum(not one.own for one in editions[name].operations) == count
        assert editions[name].base == "/v1"


def test_an_edition_holds_no_prose(editions: dict[str, Edition]) -> None:
    for name in editions:
        text = (EDITIONS / f"{name}.yaml").read_text()
        for word in ("description:", "summary:", "x-oaiMeta", "example:", "x-stainless"):
            assert word not in text or _only_as_property(text, word)


def _only_as_property(text: str, word: str) -> bool:
    """`description` is also the name of properties, whose value is a schema."""
    places = list(text.split(word)[1:])
    return all(place.lstrip(" ").startswith(("{", "\n")) for place in places)


OURS = ("list_threads", "list_conversations", "create_thread_conversation", "create_conversation_thread")
"""The operations whose paths none of OpenAI's have."""


def test_our_own_operations_are_merged(newest: Edition) -> None:
    own = {one.name: one for one in newest.operations if one.own}
    assert set(own) == {"get_health", "get_run_events", *OURS}
    router = newest.router()
    assert router.match("GET", "/threads", "")[0] is own["list_threads"]
    assert router.match("POST", "/threads", "")[0].id == "createThread"
    assert own["get_run_events"].decode_query(b"starting_after=7") == {"starting_after": 7}
    assert "text/event-stream" in own["get_run_events"].responses["200"]
    health = own["get_health"].response(200)
    assert health is not None
    health.check({"status": "alive"})


def test_upstreams_paths_are_never_shadowed(tmp_path: Path) -> None:
    text = """
openapi: 3.0.0
info: {title: t, version: "1"}
paths:
  /health: {get: {operationId: theirs, responses: {}}}
  /threads/{id}/runs/{run}/events: {get: {operationId: theirEvents, responses: {}}}
"""
    names = {one.name: one.own for one in edition(tmp_path, text).operations}
    assert names == {"theirs": False, "their_events": False, **dict.fromkeys(OURS, True)}


def test_json_is_read_like_yaml(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_text('{"openapi": "3.1.0", "paths": {"/a": {"get": {"responses": {}}}}}')
    assert [one.name for one in load(str(file), None).operations if not one.own] == ["get_a"]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            "2023-01-01",
            "2023-01-01: edition: neither a file nor one of the editions 2024-04-12-assistants-v1, ",
        ),
        ("/nowhere/openapi.yaml", "/nowhere/openapi.yaml: file: No such file or directory"),
    ],
)
def test_a_missing_edition_is_refused_in_one_line(spec: str, line: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        load(spec, None)
    assert str(refused.value).startswith(line)


# --- cache ---


def test_a_cached_edition_is_the_same_and_quick(tmp_path: Path, newest: Edition) -> None:
    first = load(newest.name, tmp_path)
    begun = time.perf_counter()
    again = load(newest.name, tmp_path)
    again.router()
    spent = time.perf_counter() - begun
    assert again.document == first.document
    assert spent < 1, f"{spent:.3f} s"


def test_a_changed_file_misses_the_cache(tmp_path: Path) -> None:
    text = "openapi: 3.1.0\npaths: {/a: {get: {operationId: NAME, responses: {}}}}"
    file = tmp_path / "openapi.yaml"
    for name in ("one", "two"):
        file.write_text(text.replace("NAME", name))
        assert load(str(file), tmp_path / "cache").operations[0].name == name


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_broken_cache_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    load("2024-04-12-assistants-v1", tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content)
    load("2024-04-12-assistants-v1", tmp_path)
    assert kept.read_bytes() == whole


def test_an_unwritable_cache_directory_is_ignored(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert load("2024-04-12-assistants-v1", blocked / "cache").operations


def test_concurrent_starts_share_a_cache(tmp_path: Path) -> None:
    found: list[Any] = []
    starts = [
        threading.Thread(target=lambda: found.append(load("2024-04-12-assistants-v1", tmp_path).document))
        for _ in range(4)
    ]
    for one in starts:
        one.start()
    for one in starts:
        one.join()
    (kept,) = tmp_path.iterdir()
    assert all(one == json.loads(kept.read_bytes()) for one in found)
    assert len(found) == 4


# --- what is served ---


def test_served_operations_are_counted(newest: Edition) -> None:
    names = {"create_assistant", "list_models", "get_health", "no_such_thing"}
    assert served(newest, names) == Served("2026-08-21", operations=288, served=2)
