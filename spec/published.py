"""The document that tells a client what is really measured: requests closed, answers forgiving.

Upstream's schemas leave open what its service refuses, and forbid nulls that it sends. Whoever
makes requests of a document (a fuzzer, a generator of clients) needs one that says what is so.
"""

from collections.abc import Mapping
from typing import Any

from spec.closing import closed
from spec.forgiving import forgiving
from spec.schema import PREFIX

JSON = dict[str, Any]
_REQUEST = "Request."


def published(document: JSON) -> JSON:
    """OpenAPI 3.1 of a mended document, with the components of requests under names of their own."""
    known = document["components"]["schemas"]
    components: JSON = {}

    def request(holder: JSON) -> JSON:
        return {**holder, "schema": _collected(closed(holder["schema"], known), _REQUEST, components)}

    def answer(holder: JSON) -> JSON:
        return {**holder, "schema": _collected(forgiving(holder["schema"], known), "", components)}

    paths: JSON = {}
    for path, item in document["paths"].items():
        paths[path] = {}
        for method, spec in item.items():
            one = {**spec, "parameters": [request(each) for each in spec["parameters"]]}
            if "requestBody" in spec:
                one["requestBody"] = _media(spec["requestBody"], request)
            one["responses"] = {status: _media(each, answer) for status, each in spec["responses"].items()}
            paths[path][method] = one
    return {**document, "paths": paths, "components": {**document["components"], "schemas": components}}


def _media(holder: JSON, change: Any) -> JSON:
    content = holder.get("content", {})
    return {
        **holder,
        "content": {media: change(one) if "schema" in one else one for media, one in content.items()},
    }


def _collected(root: JSON, prefix: str, components: JSON) -> JSON:
    """The root alone; what it came with is added to `components`, by prefixed names."""
    made = root.get("components", {}).get("schemas", {})
    for name, schema in made.items():
        components.setdefault(prefix + name, _prefixed(schema, prefix))
    found: JSON = _prefixed({key: value for key, value in root.items() if key != "components"}, prefix)
    return found


def _prefixed(node: Any, prefix: str) -> Any:
    if isinstance(node, Mapping):
        return {
            key: PREFIX + prefix + value.removeprefix(PREFIX)
            if key == "$ref" and isinstance(value, str)
            else _prefixed(value, prefix)
            for key, value in node.items()
        }
    return [_prefixed(one, prefix) for one in node] if isinstance(node, list) else node
