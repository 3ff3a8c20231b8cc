import time

import pytest

from inference.engine.citations import CitationReader
from inference.engine.tools import Citation, Tool, Toolbox
from inference.retrieval.citations import citation, mark, quote
from persistence.types import JSON

CHUNK = "The harbour was built in 1780. Storms broke its wall twice. Ships went elsewhere."


def call(*files: tuple[str, str]) -> JSON:
    return {
        "results": [
            {"file_id": id, "file_name": name, "score": 1, "content": [{"type": "text", "text": CHUNK}]}
            for id, name in files
        ]
    }


CALLS = [call(("file-a", "a.txt"), ("file-b", "b.txt")), call(("file-c", "c.txt"))]


class Citing(Tool):
    """A tool that has found CALLS."""

    item_type = "file_search_call"

    def __init__(self, calls: list[JSON]) -> None:
        self.calls = calls

    def definitions(self) -> list[JSON]:
        return []

    def cite(self, mark: str, start: int, before: str) -> Citation | None:
        annotation = citation(mark, start, before, self.calls)
        return None if annotation is None else Citation(annotation)


def annotations(text: str, calls: list[JSON], step: int | None = None) -> list[JSON]:
    """The annotations of a text that comes in pieces of `step` characters."""
    reader = CitationReader(Toolbox([("file_search", Citing(calls))]))
    step = step or max(len(text), 1)
    pieces = [piece for at in range(0, len(text), step) for piece in reader.read(text[at : at + step])]
    return [each for _, found in (*pieces, *reader.end()) for each in found]


def test_six_thousand_marks_cost_no_more_than_their_length() -> None:
    text = "So it is【0:1†b.txt】. " * 6000
    started = time.process_time()
    assert len(annotations(text, CALLS, step=20)) == 6000
    assert time.process_time() - started < 2


def test_a_mark_becomes_a_citation_at_its_characters() -> None:
    text = "🦄 Der Häfen wall broke 【0:1†b.txt】, and so on【1:0†c.txt】."
    first, second = annotations(text, CALLS)
    for annotation in (first, second):
        assert text[annotation["start_index"] : annotation["end_index"]] == annotation["text"]
        assert annotation["file_citation"]["quote"] in CHUNK
    assert (first["type"], first["text"]) == ("file_citation", "【0:1†b.txt】")
    assert first["file_citation"] == {"file_id": "file-b", "quote": "Storms broke its wall twice."}
    assert second["file_citation"]["file_id"] == "file-c"


def test_the_annotations_of_a_beginning_stay_as_they_are() -> None:
    text = "Storms 【0:1†b.txt】 and the year 1780【0:0†a.txt】 and more【1:0†c.txt】."
    whole = annotations(text, CALLS)
    for length in range(len(text)):
        found = annotations(text[:length], CALLS)
        assert found == whole[: len(found)]


def test_a_mark_that_names_no_result_is_no_citation() -> None:
    for text in (
        "【0:2†b.txt】",
        "【2:0†a.txt】",
        "【0:0†b.txt】",  # copied from another answer
        "【0:0】",
        "【note】",
        "【0:0†a.txt",
        "【99999:0†a.txt】",
    ):
        assert annotations(text, CALLS) == []


def test_openais_own_form_of_a_mark_is_understood() -> None:
    assert annotations("【0:0†source】", CALLS)[0]["file_citation"]["file_id"] == "file-a"


def test_any_file_name_makes_a_mark_that_is_found_again() -> None:
    for name in ("a】b【c†.txt", "line\nbreak.txt", "x" * 300, "報告書 2024.pdf", "【】"):
        written = mark(0, 0, name)
        assert len(written) <= 64
        [annotation] = annotations(f"See {written}.", [call(("file-a", name))])
        assert annotation["text"] == written


def test_a_quote_is_a_sentence_of_the_chunk() -> None:
    assert quote(CHUNK, "it was constructed in 1780, the harbour") == "The harbour was built in 1780."
    assert quote(CHUNK, "") in CHUNK
    assert quote("no end of the sentence", "x") == "no end of the sentence"
    assert quote("...", "x") == "..."
    assert len(quote("word " * 1000, "word")) <= 400


class Linking(Tool):
    """A tool that knows two files, and cites the source 【1】 as a link."""

    item_type = "code_interpreter_call"

    def definitions(self) -> list[JSON]:
        return []

    def cite(self, mark: str, start: int, before: str) -> Citation | None:
        if mark in ("sandbox:/mnt/data/a.csv", "sandbox:/mnt/data/b [c] (1).csv"):
            return Citation({"type": "file_path", "start_index": start, "end_index": start + len(mark)})
        if mark == "\u30101\u3011":
            link = "([x](https://x.test))"
            return Citation({"type": "url", "start_index": start, "end_index": start + len(link)}, link)
        return None


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_links_to_files_and_replaced_marks_have_the_offsets_of_what_is_shown(step: int) -> None:
    reader = CitationReader(Toolbox([("code_interpreter", Linking())]))
    answer = (
        "Ü\u30101\u3011 [here](sandbox:/mnt/data/a.csv), sandbox:/mnt/data/a.csv. sandbox:/mnt/data/b.csv s"
        "[x](sandbox:/mnt/data/b [c] (1).csv)](sandbox:/mnt/data/a.csv [(sandbox:/mnt/data/b [c] (1).csv)"
        ' ](sandbox:/mnt/data/a.csv "title")](sandbox:/mnt/data/a.csv'
    )
    pieces = [piece for at in range(0, len(answer), step) for piece in reader.read(answer[at : at + step])]
    pieces += reader.end()
    text = "".join(piece for piece, _ in pieces)
    found = [each for _, annotations in pieces for each in annotations]
    assert text == answer.replace("\u30101\u3011", "([x](https://x.test))")
    assert [text[each["start_index"] : each["end_index"]] for each in found] == [
        "([x](https://x.test))",
        "sandbox:/mnt/data/a.csv",
        "sandbox:/mnt/data/a.csv",
        "sandbox:/mnt/data/b [c] (1).csv",
        "sandbox:/mnt/data/a.csv",
        "sandbox:/mnt/data/a.csv",
        "sandbox:/mnt/data/a.csv",
    ]
