"""LIMITS.md matches the code."""

from tests.limits import PAGE, written


def test_the_tables_of_limits_are_those_of_the_code() -> None:
    page = PAGE.read_text()
    assert written(page) == page, "run `python -m tests.limits`"
