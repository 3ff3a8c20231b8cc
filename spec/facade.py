"""The document for Connexion: OpenAPI 3.0, the newest version that Connexion 3.3 reads.

Connexion needs paths, parameters and the names of handlers. It does not validate, so bodies and
answers are reduced to their media types. Two operations that share a path and differ in a fixed
query (`/responses?beta=true`) become two paths; no request is
sent to the second, because our router finds the operation and Connexion only resolves it.
"""

import re
from collections.abc import Iterable

from spec.operation import Operation
from spec.types import JSON


def facade(operations: Iterable[Operation], base: str) -> JSON:
    """Return OpenAPI 3.0.3 of the operations; each operationId is the handler's name."""
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
    """Return the operation's path in the facade, unique even if only a fixed query distinguishes it."""
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
