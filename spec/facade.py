"""The document that Connexion is shown: OpenAPI 3.0, which is all that Connexion 3.3 knows.

It needs the paths, the parameters and the names of the handlers; validation is ours, so bodies and
answers are reduced to their media types. Two operations that share a path and differ in a fixed
query (`/responses?beta=true`) become two paths, the second of which no request is ever sent to:
our router finds the operation, Connexion only resolves it.
"""

import re
from collections.abc import Iterable

from spec.operation import Operation
from spec.types import JSON


def facade(operations: Iterable[Operation], base: str) -> JSON:
    """OpenAPI 3.0.3 of the operations; each operationId is the handler's name."""
    paths: JSON = {}
    for one in operations:
        paths.setdefault(facade_path(one), {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.0.3",
        "info": {"title": "OpenAI API", "version": "1"},
        "servers": [{"url": base}],
        "paths": paths,
    }


def facade_path(operation: Operation) -> str:
    """The path of the operation in the facade, its own even where a fixed query tells it apart."""
    if not operation.query:
        return operation.path
    fixed = "_".join(f"{name}_{value}" for name, value in operation.query.items())
    return f"{operation.path}/__{re.sub(r'[^0-9A-Za-z]+', '_', fixed)}"


def _operation(one: Operation) -> JSON:
    result: JSON = {
        "operationId": one.name,
        "tags": list(one.tags),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in one.path_names
        ],
        "responses": {"200": {"description": ""}},
    }
    if one.bodies:
        content: JSON = {media: {"schema": {}} for media in one.bodies}
        result["requestBody"] = {"required": one.body_required, "content": content}
    return result
