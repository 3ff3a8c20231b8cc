import pytest

from astrolabe_server.inference.retrieval.ranking import HALF_RELEVANT, Ranked, Ranking, fuse, unite
from astrolabe_server.persistence.store import Hit


def ranking(measure: str, *hits: tuple[str, float], store: str = "vs") -> Ranking:
    found = [Hit(file, 0, f"text of {file}", score) for file, score in hits]
    return Ranking.of(measure, [(store, found)])  # type: ignore[arg-type]


def files(ranked: list[Ranked]) -> list[str]:
    return [item.place.hit.file_id for item in ranked]


def test_what_both_measures_find_comes_before_what_one_finds() -> None:
    ranked = fuse(
        [
            ranking("text", ("words", 12.0), ("both", 11.0)),
            ranking("vectors", ("vectors", 0.6), ("both", 0.55)),
        ]
    )
    assert files(ranked)[0] == "both"
    assert set(files(ranked)) == {"words", "vectors", "both"}


def test_the_score_is_one_only_for_a_perfect_match_and_low_for_a_bad_one() -> None:
    [perfect] = fuse([ranking("text", ("a", 1e9)), ranking("vectors", ("a", 1.0))])
    assert perfect.score == pytest.approx(1.0)
    [bad] = fuse([ranking("text", ("a", 0.1)), ranking("vectors", ("a", 0.05))])
    assert bad.score < 0.05
    [opposite] = fuse([ranking("text"), ranking("vectors", ("a", -0.5))])
    assert opposite.score == 0


def test_one_measure_alone_scores_by_its_relevance() -> None:
    assert [item.score for item in fuse([ranking("vectors", ("a", 0.7), ("b", 0.3))])] == [0.7, 0.3]
    assert [item.score for item in fuse([ranking("text", ("a", HALF_RELEVANT), ("b", 0.0))])] == [0.5, 0.0]


def test_a_text_that_two_stores_hold_counts_once() -> None:
    hits = [Hit("f", 0, "same", 3.0)], [Hit("f", 7, "same", 2.0)]
    both = Ranking.of("text", [("vs_1", hits[0]), ("vs_2", hits[1])])
    assert [place.vector_store for place in both.places] == ["vs_1"]


def test_results_of_several_stores_are_ranked_together() -> None:
    both = Ranking.of("text", [("vs_1", [Hit("a", 0, "a", 1.0)]), ("vs_2", [Hit("b", 0, "b", 9.0)])])
    assert [place.hit.file_id for place in both.places] == ["b", "a"]


def test_a_chunk_has_the_best_score_that_a_query_gives_it() -> None:
    first = fuse([ranking("vectors", ("a", 0.9), ("b", 0.2))])
    second = fuse([ranking("vectors", ("b", 0.8), ("c", 0.1))])
    assert [(item.place.hit.file_id, item.score) for item in unite([first, second])] == [
        ("a", 0.9),
        ("b", 0.8),
        ("c", 0.1),
    ]


def test_nothing_found_is_nothing_ranked() -> None:
    assert fuse([ranking("text"), ranking("vectors")]) == []
    assert unite([]) == []
