"""The code of a call, read out of its arguments while they arrive."""

import json
import random
import time

import pytest

from inference.code.arguments import CodeReader, code_of

CODES = ['print("hi")\nx = "ü🦄\\n"', '"', "", "\\", "é\u2028", 're.compile("\\\\d+")', "a" * 50]


def read_in_pieces(arguments: str, rng: random.Random) -> str:
    reader, code = CodeReader(), ""
    while arguments:
        size = rng.randint(1, 3)
        code += reader.read(arguments[:size])
        arguments = arguments[size:]
    return code


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("others", [{}, {"language": "py"}])
def test_the_pieces_of_the_code_are_the_code_however_the_arguments_are_cut(
    code: str, is_ascii: bool, others: dict[str, str]
) -> None:
    arguments = json.dumps({**others, "code": code, "after": 1}, ensure_ascii=is_ascii)

    assert code_of(arguments) == code
    for seed in range(20):
        assert read_in_pieces(arguments, random.Random(seed)) == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param("print(1)", "print(1)", id="code without JSON"),
        pytest.param('{"code":"a\\d"}', "a\\d", id="a regular expression that was not escaped"),
        pytest.param('{"code":"\\ud83d"}', "\ufffd", id="half a character"),
        pytest.param('{"code":"\\ud83dx"}', "\ufffdx", id="half a character, and another one"),
        pytest.param('{"code":"\\ud83d\\n"}', "\ufffd\n", id="half a character, and an escape"),
        pytest.param('{"code":"x', "x", id="arguments that break off"),
        pytest.param('{"code":"x\\uZZ"}', "x\\uZZ", id="an escape that is none"),
        pytest.param('{"code": "a\nb"}', "a\nb", id="a raw line break"),
        pytest.param(" \n\t print(1)", " \n\t print(1)", id="code behind blanks"),
        pytest.param(' \n {"code": "x"}', "x", id="an object behind blanks"),
        pytest.param('{"x":1}', "", id="no code"),
        pytest.param('{"code":null}', "", id="null"),
    ],
)
def test_arguments_that_are_not_as_they_should_be_are_read_as_well_as_they_can_be(
    arguments: str, code: str
) -> None:
    assert code_of(arguments) == code
    reader = CodeReader()
    assert "".join(map(reader.read, arguments)) == code


def test_long_arguments_without_code_take_no_longer_by_the_piece() -> None:
    reader = CodeReader()
    started = time.process_time()
    reader.read('{"other": "')
    for _ in range(100_000):
        reader.read("x" * 10)
    assert time.process_time() - started < 2
    assert reader.read('", "code": "1"') == "1"


def test_long_blanks_before_the_code_take_no_longer_by_the_piece() -> None:
    reader = CodeReader()
    started = time.process_time()
    for _ in range(200_000):
        reader.read(" " * 10)
    assert time.process_time() - started < 2
    assert len(reader.read("x")) == 2_000_001
