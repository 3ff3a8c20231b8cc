import pytest

from inference.retrieval.ranking import Ranked, Ranking, coverage, fuse, unite
from persistence.store import Hit


def hits(*hits: tuple[str, float]) -> list[tuple[str, list[Hit]]]:
    return [("vs", [Hit(file, 0, f"text of {file}", score) for file, score in hits])]


def by_text(*found: tuple[str, float], query: str = "text") -> Ranking:
    return Ranking.by_text(query, hits(*found))


def by_vectors(*found: tuple[str, float]) -> Ranking:
    return Ranking.by_vectors(hits(*found))


def files(ranked: list[Ranked]) -> list[str]:
    return [item.store_hit.hit.file_id for item in ranked]


def test_what_both_measures_find_comes_before_what_one_finds() -> None:
    ranked = fuse([by_text(("words", 12.0), ("both", 11.0)), by_vectors(("vectors", 0.6), ("both", 0.55))])
    assert files(ranked)[0] == "both"
    assert set(files(ranked)) == {"words", "vectors", "both"}


def test_the_score_is_one_only_for_a_perfect_match_and_low_for_a_bad_one() -> None:
    [perfect] = fuse([by_text(("a", 20.0)), by_vectors(("a", 1.0))])
    assert perfect.score == pytest.approx(1.0)
    [bad] = fuse(
        [
            by_text(("a", 20.0), query="ten words of which the hit holds no more than one"),
            by_vectors(("a", 0.05)),
        ]
    )
    assert bad.score < 0.15
    [opposite] = fuse([by_text(), by_vectors(("a", -0.5))])
    assert opposite.score == 0


def test_the_scale_of_bm25_does_not_matter() -> None:
    large, small = (
        fuse([by_text(("a", 30.0 * scale), ("b", 15.0 * scale)), by_vectors(("a", 0.5))])
        for scale in (1, 1e-6)
    )
    assert [item.score for item in large] == pytest.approx([item.score for item in small])


def test_one_measure_alone_scores_by_its_relevance() -> None:
    assert [item.score for item in fuse([by_vectors(("a", 0.7), ("b", 0.3))])] == [0.7, 0.3]
    assert [item.score for item in fuse([by_text(("a", 8.0), ("b", 2.0))])] == [1.0, 0.25]
    halves = fuse([by_text(("a", 8.0), ("b", 2.0), query="text missing")])
    assert [item.score for item in halves] == [0.5, 0.125]


def test_coverage_is_by_the_beginnings_of_words_that_ask_for_something() -> None:
    assert coverage("What do storms break?", "The storm was breaking the wall.") == 1
    assert coverage("storms islands", "The storm was breaking the wall.") == 0.5
    assert coverage("Größe", "die GRÖSSE und die Größen") == 1


def test_a_text_that_two_stores_hold_counts_once() -> None:
    same = [Hit("f", 0, "same", 3.0)], [Hit("f", 7, "same", 2.0)]
    both = Ranking.by_text("same", [("vs_1", same[0]), ("vs_2", same[1])])
    assert [store_hit.vector_store for store_hit in both.store_hits] == ["vs_1"]


def test_results_of_several_stores_are_ranked_together() -> None:
    both = Ranking.by_vectors([("vs_1", [Hit("a", 0, "a", 0.1)]), ("vs_2", [Hit("b", 0, "b", 0.9)])])
    assert [store_hit.hit.file_id for store_hit in both.store_hits] == ["b", "a"]


def test_a_chunk_has_the_best_score_that_a_query_gives_it() -> None:
    first = fuse([by_vectors(("a", 0.9), ("b", 0.2))])
    second = fuse([by_vectors(("b", 0.8), ("c", 0.1))])
    assert [(item.store_hit.hit.file_id, item.score) for item in unite([first, second])] == [
        ("a", 0.9),
        ("b", 0.8),
        ("c", 0.1),
    ]


def test_nothing_found_is_nothing_ranked() -> None:
    assert fuse([by_text(), by_vectors()]) == []
    assert unite([]) == []
