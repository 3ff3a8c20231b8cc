from typing import Any

import pytest

from persistence.store import Chunk, Comparison, Compound, Filter, Store
from persistence.types import JSON

FILES: dict[str, JSON] = {
    "none": {},
    "one": {"n": 1, "s": "apple", "b": True},
    "two": {"n": 2, "s": "banana", "b": False},
    "half": {"n": 2.5, "s": "Cherry"},
    "text": {"n": "1", "s": "1", "b": "true"},
    "minus": {"n": -3, "s": ""},
}


def is_(operator: Any, attribute: str, value: Any) -> Comparison:
    return Comparison(operator, attribute, value)


def all_of(*filters: Filter) -> Compound:
    return Compound("and", filters)


def any_of(*filters: Filter) -> Compound:
    return Compound("or", filters)


@pytest.fixture
async def files(store: Store, project: str) -> Store:
    for name, attributes in FILES.items():
        given = [Chunk(n, f"apple pie number {n} of {name}", (1.0, n / 10)) for n in range(2)]
        await store.put_chunks(project, "vs_1", name, given, attributes)
    return store


async def through(store: Store, project: str, filter: Filter | None) -> set[str]:
    """The files that a filter lets through, the same by both searches."""
    text = await store.search_text(project, "vs_1", "apple", 100, filter)
    vectors = await store.search_vectors(project, "vs_1", (1.0, 0.0), 100, filter)
    assert sorted((hit.file_id, hit.index) for hit in text) == sorted(
        (hit.file_id, hit.index) for hit in vectors
    )
    assert len(text) == 2 * len({hit.file_id for hit in text})
    return {hit.file_id for hit in text}


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        (is_("eq", "n", 1), {"one"}),
        (is_("eq", "n", 1.0), {"one"}),
        (is_("eq", "n", "1"), {"text"}),
        (is_("eq", "s", "apple"), {"one"}),
        (is_("eq", "s", "Apple"), set()),
        (is_("eq", "s", ""), {"minus"}),
        (is_("eq", "b", True), {"one"}),
        (is_("eq", "b", False), {"two"}),
        (is_("eq", "b", 1), set()),
        (is_("eq", "n", True), set()),
        (is_("eq", "b", "true"), {"text"}),
        (is_("eq", "nothing", 1), set()),
        (is_("ne", "n", 1), {"none", "two", "half", "text", "minus"}),
        (is_("ne", "b", True), {"none", "two", "half", "text", "minus"}),
        (is_("ne", "nothing", 1), set(FILES)),
        (is_("gt", "n", 2), {"half"}),
        (is_("gt", "n", -10), {"one", "two", "half", "minus"}),
        (is_("gte", "n", 2), {"two", "half"}),
        (is_("lt", "n", 2), {"one", "minus"}),
        (is_("lte", "n", 2), {"one", "two", "minus"}),
        (is_("lt", "n", 10**30), {"one", "two", "half", "minus"}),
        (is_("gt", "s", "a"), {"one", "two"}),
        (is_("lt", "s", "b"), {"one", "half", "text", "minus"}),
        (is_("gt", "nothing", 0), set()),
        (is_("in", "n", [1, 2, 99]), {"one", "two"}),
        (is_("in", "n", [1, "1"]), {"one", "text"}),
        (is_("in", "s", ["apple", "banana"]), {"one", "two"}),
        (is_("in", "s", []), set()),
        (is_("in", "nothing", [1]), set()),
        (is_("nin", "n", [1, 2]), {"none", "half", "text", "minus"}),
        (is_("nin", "s", []), set(FILES)),
        (all_of(is_("gte", "n", 1), is_("lt", "n", 2.5)), {"one", "two"}),
        (any_of(is_("eq", "s", "apple"), is_("eq", "s", "banana")), {"one", "two"}),
        (all_of(), set(FILES)),
        (any_of(), set()),
        (all_of(is_("ne", "s", "apple"), any_of(is_("eq", "n", 1), is_("eq", "n", 2))), {"two"}),
        (any_of(all_of(is_("eq", "n", 1), is_("eq", "b", True)), is_("lt", "n", 0)), {"one", "minus"}),
        (is_("eq", "n' OR 1=1 --", 1), set()),
        (is_("eq", "s", "' OR 1=1 --"), set()),
    ],
    ids=lambda value: ",".join(sorted(value)) if isinstance(value, set) else str(value),
)
async def test_a_filter_passes_exactly_the_matching_files(
    files: Store, project: str, filter: Filter, names: set[str]
) -> None:
    assert await through(files, project, filter) == names


async def test_without_a_filter_every_file_is_searched(files: Store, project: str) -> None:
    assert await through(files, project, None) == set(FILES)


async def test_a_filter_may_be_fifty_deep(files: Store, project: str) -> None:
    filter: Filter = is_("eq", "s", "apple")
    for depth in range(50):
        filter = all_of(filter) if depth % 2 else any_of(filter, is_("eq", "s", f"depth {depth}"))
    assert await through(files, project, filter) == {"one"}


async def test_a_filter_may_name_hundreds_of_values(files: Store, project: str) -> None:
    assert await through(files, project, is_("in", "n", list(range(1, 500)))) == {"one", "two"}


async def test_a_filter_applies_before_the_cut(store: Store, project: str) -> None:
    """The only file that passes is the worst match of all, and found nevertheless."""
    for number in range(40):
        given = [Chunk(0, "apple apple apple", (1.0, 0.0))]
        await store.put_chunks(project, "vs_1", f"file-{number}", given, {"kind": "good"})
    worst = [Chunk(0, "one apple in a long text about many other things " * 5, (0.0, 1.0))]
    await store.put_chunks(project, "vs_1", "file-worst", worst, {"kind": "wanted"})
    filter = is_("eq", "kind", "wanted")
    assert [hit.file_id for hit in await store.search_text(project, "vs_1", "apple", 1, filter)] == [
        "file-worst"
    ]
    assert [hit.file_id for hit in await store.search_vectors(project, "vs_1", (1.0, 0.0), 1, filter)] == [
        "file-worst"
    ]


async def test_changed_attributes_count_from_the_next_search_on(files: Store, project: str) -> None:
    await files.set_attributes(project, "vs_1", "one", {"n": 7})
    assert await through(files, project, is_("eq", "n", 1)) == set()
    assert await through(files, project, is_("eq", "n", 7)) == {"one"}
    assert await through(files, project, is_("eq", "s", "apple")) == set()
    await files.set_attributes(project, "vs_1", "one", {})
    assert await through(files, project, is_("eq", "n", 7)) == set()
    await files.put_chunks(project, "vs_1", "one", [], {"n": 8})
    assert await through(files, project, is_("eq", "n", 8)) == {"one"}


async def test_attributes_of_a_deleted_file_do_not_come_back(files: Store, project: str) -> None:
    await files.delete_chunks(project, "vs_1", "one")
    given = [Chunk(n, f"apple {n}", (1.0, 0.0)) for n in range(2)]
    await files.put_chunks(project, "vs_1", "one", given, {"other": 1})
    assert await through(files, project, is_("eq", "n", 1)) == set()
    assert await through(files, project, is_("eq", "other", 1)) == {"one"}
