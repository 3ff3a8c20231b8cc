"""Layers import only from layers below: wsgi → serving → handlers → inference → persistence → spec."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["spec", "persistence", "inference", "handlers", "serving"]
ONLY_IN = {
    "litellm": "inference/gateway/",
    "cassandra": "persistence/cassandra/",
    "httpx2": "inference/mcp/",
    "mcp": "inference/mcp/",
    "apsw": "persistence/sqlite/",
    "connexion": "serving/",
    "flask": "serving/",
    "gunicorn": "serving/",
}


def modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in (node.module, *names) if name)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_from_layers_below_it(layer: str) -> None:
    above = LAYERS[LAYERS.index(layer) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules(layer)
        for line, name in imported(path)
        for higher in above
        if name == higher or name.startswith(f"{higher}.")
    ]
    assert wrong == []


@pytest.mark.parametrize(("library", "home"), ONLY_IN.items())
def test_a_library_is_imported_only_where_it_is_wrapped(library: str, home: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for layer in LAYERS
        for path in modules(layer)
        if not str(path.relative_to(ROOT)).startswith(home)
        for line, name in imported(path)
        if name == library or name.startswith(library + ".")
    ]
    assert wrong == []


def test_product_code_imports_no_tests() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for layer in LAYERS
        for path in modules(layer)
        for line, name in imported(path)
        if name == "tests" or name.startswith("tests.")
    ]
    assert wrong == []


def test_the_engine_knows_no_api() -> None:
    engine = sorted((ROOT / "inference" / "engine").glob("*.py"))
    assert [path.name for path in engine if "thread." in path.read_text()] == []
    imports = [name for path in engine for _, name in imported(path)]
    assert [name for name in imports if name.startswith("inference.assistants")] == []
