"""Files are read as YAML 1.2 or JSON, and refused in one line that says where they break."""

from pathlib import Path

import pytest

from spec.errors import InvalidSpec
from spec.reading import parse, read


def test_an_anchor_may_be_defined_twice() -> None:
    assert parse(b"a: &x 1\nb: &x 2\nc: *x\n", "t.yaml") == {"a": 1, "b": 2, "c": 2}


def test_words_of_yaml_1_1_are_strings() -> None:
    text = b"a: [on, off, yes, no, 2024-01-01, 12:30:00, 0b1, 1_000, true, ~, 010, 0x10, 1e3, .5, -3]"
    words = ["on", "off", "yes", "no", "2024-01-01", "12:30:00", "0b1", "1_000"]
    assert parse(text, "t.yaml")["a"] == [*words, True, None, 10, 16, 1000.0, 0.5, -3]


def test_numbers_as_keys_are_strings() -> None:
    assert parse(b"responses: {200: ok}", "t.yaml") == {"responses": {"200": "ok"}}


def test_json_is_read_as_json() -> None:
    assert parse(b' {"a": 123456789012345678901234567890}', "t.json") == {"a": 123456789012345678901234567890}


def test_merged_keys_are_merged() -> None:
    assert parse(b"a: &a {x: 1}\nb: {<<: *a, y: 2}\n", "t.yaml")["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"a: b: c", "t.yaml: line 1, column 5: not YAML: mapping values are not allowed in this context"),
        (b"a: [1,\n", "t.yaml: line 2, column 1: not YAML: did not find expected node content"),
        (b"a:\n  b: 1\n   c: 1", "t.yaml: line 3, column 5: not YAML: mapping values are not allowed"),
        (b"a: {}\n  b: 1", "t.yaml: line 2, column 3: not YAML: did not find expected key"),
        (b"", "t.yaml: file: not an OpenAPI document: it is empty, not a mapping"),
        (b"- a", "t.yaml: file: not an OpenAPI document: it is a list, not a mapping"),
        (b"hello", "t.yaml: file: not an OpenAPI document: it is a str, not a mapping"),
        (b'{"a": }', "t.yaml: line 1, column 7: not JSON: Expecting value"),
        (b"a: *nowhere", "t.yaml: line 1, column 4: not YAML: found undefined alias"),
        (
            b"a: !!python/object:os.system x",
            "t.yaml: line 1, column 4: not YAML: could not determine a constructor",
        ),
        (b"a: \xff", "t.yaml: file: not YAML:"),
        (b"a: &a [*a]", "t.yaml: file: not JSON data: Circular reference detected"),
        (b"? [a, b]\n: c", "t.yaml: line 1, column 3: not YAML: found unhashable key"),
        (b"a: .nan", None),
        (b"--- {}\n--- {}", "t.yaml: line 2, column 1: not YAML: but found another document"),
    ],
)
def test_anything_but_a_document_is_refused_in_one_line(raw: bytes, line: str | None) -> None:
    if line is None:
        assert parse(raw, "t.yaml") == {"a": ".nan"}
        return
    with pytest.raises(InvalidSpec) as refused:
        parse(raw, "t.yaml")
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"none\.yaml: file: No such file or directory"):
        read(tmp_path / "none.yaml")
    with pytest.raises(InvalidSpec, match="file: Is a directory"):
        read(tmp_path)
