"""Every handler is an operation's, in some edition."""

import ast
from pathlib import Path

import handlers
from serving.app import find_handlers
from spec import edition

FOLDER = Path(handlers.__file__).parent


def imported_by_other_handlers() -> set[str]:
    """What one module of handlers takes from another: pieces that they share."""
    return {
        alias.name
        for path in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_a_handler_that_no_edition_knows_is_a_mistake() -> None:
    editions = [edition.load(name, None) for name in edition.shipped()]
    unknown = edition.unknown_handlers(find_handlers(), editions)
    assert sorted(set(unknown) - imported_by_other_handlers()) == []
