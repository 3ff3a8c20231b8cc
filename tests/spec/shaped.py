"""Documents of a few lines, for tests that show what becomes of one construct."""

from pathlib import Path
from typing import Any

import yaml

from spec.edition import Edition, load
from spec.normalize import normalize
from spec.operation import Operation
from spec.types import JSON


def document(schemas: str = "{}", paths: str = "") -> JSON:
    """An OpenAPI document with these components, each referred to by an operation of its own."""
    components = yaml.safe_load(schemas)
    uses = {
        f"/{name}": {
            "get": {"operationId": name, "responses": _answer({"$ref": f"#/components/schemas/{name}"})}
        }
        for name in components
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {**uses, **(yaml.safe_load(paths) or {})},
        "components": {"schemas": components},
    }


def _answer(schema: Any) -> JSON:
    return {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}


def schema_of(text: str, name: str = "A") -> Any:
    """Return the component after normalization."""
    return normalize(document(text), "t.yaml")["components"]["schemas"][name]


def edition(tmp_path: Path, text: str) -> Edition:
    """An edition of a hand-written openapi.yaml."""
    file = tmp_path / "openapi.yaml"
    file.write_text(text)
    return load(str(file), None)


def compile_validators(operation: Operation) -> None:
    """Compile the validators of every body and response of the operation."""
    for body in operation.bodies.values():
        body.validator.compile()
    for contents in operation.responses.values():
        for validator in contents.values():
            if validator is not None:
                validator.compile()
