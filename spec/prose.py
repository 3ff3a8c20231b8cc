"""Removes prose, examples and extensions from a document; the interface stays."""

from typing import Any

from spec.schema import KEYWORDS, PROSE, SCHEMAS, SCHEMAS_BY_NAME, SCHEMAS_IN_LIST
from spec.types import JSON

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_DROPPED = frozenset({"webhooks", "oaiMeta", "links", "callbacks"})


def strip_prose(document: JSON) -> JSON:
    """Return the document without descriptions, summaries, titles, examples, headers and extensions."""
    result = {key: value for key, value in document.items() if not _is_prose(key) and key not in _DROPPED}
    if isinstance(result.get("info"), dict):
        result["info"] = {key: value for key, value in result["info"].items() if key in ("title", "version")}
    if isinstance(result.get("tags"), list):
        result["tags"] = [
            {"name": one["name"]} for one in result["tags"] if isinstance(one, dict) and "name" in one
        ]
    if isinstance(result.get("servers"), list):
        result["servers"] = [_plain(one) for one in result["servers"]]
    if isinstance(result.get("components"), dict):
        result["components"] = _components(result["components"])
    if isinstance(result.get("paths"), dict):
        result["paths"] = {
            path: _path(item) for path, item in result["paths"].items() if not path.startswith("x-")
        }
    return result


def _is_prose(key: str) -> bool:
    return key in PROSE or key.startswith("x-")


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: one for key, one in value.items() if not _is_prose(key) and key not in _DROPPED}


def _components(components: JSON) -> JSON:
    result: JSON = {}
    for kind, members in components.items():
        if not isinstance(members, dict) or kind in ("headers", "examples", "links", "callbacks"):
            continue
        treat = {"schemas": _schema, "parameters": _holder, "securitySchemes": _plain}.get(kind, _holder)
        result[kind] = {name: treat(one) for name, one in members.items()}
    return result


def _path(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {key: _operation(one) if key in METHODS else one for key, one in _plain(item).items()}


def _operation(operation: Any) -> Any:
    if not isinstance(operation, dict):
        return operation
    result = _plain(operation)
    if isinstance(result.get("parameters"), list):
        result["parameters"] = [_holder(one) for one in result["parameters"]]
    if "requestBody" in result:
        result["requestBody"] = _holder(result["requestBody"])
    if isinstance(result.get("responses"), dict):
        result["responses"] = {status: _holder(one) for status, one in result["responses"].items()}
    return result


def _holder(part: Any) -> Any:
    """A parameter, a body, a response, or one media type of theirs."""
    if not isinstance(part, dict):
        return part
    result = {key: value for key, value in _plain(part).items() if key != "headers"}
    if "schema" in result:
        result["schema"] = _schema(result["schema"])
    if isinstance(result.get("content"), dict):
        result["content"] = {media: _holder(one) for media, one in result["content"].items()}
    return result


def _schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result: JSON = {}
    for key, value in schema.items():
        if _is_prose(key):
            continue
        if key in SCHEMAS_BY_NAME and isinstance(value, dict):
            result[key] = {name: _schema(one) for name, one in value.items()}
        elif key in SCHEMAS_IN_LIST or key in SCHEMAS or key not in KEYWORDS:
            result[key] = _schema(value)
        else:
            result[key] = value
    return result
