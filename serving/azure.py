"""Azure OpenAI's paths: a request to one of them becomes the same request to OpenAI's.

`/openai/v1/…` is OpenAI's API; `/openai/deployments/{deployment}/…` and `/openai/…` are its older
form, with `api-version` in the query and the key in the `api-key` header. Azure's SDK puts the
deployment behind any base URL, so that `/v1/deployments/{deployment}/…` means the same.
"""

import re
from urllib.parse import unquote

from serving.request import Scope
from serving.routing import PREFIX

BASE = "/openai"
DEPLOYMENTS = "/deployments/"
VERSION = b"api-version="

_DEPLOYED = re.compile("(.+?)/((?:chat/)?completions|embeddings|(?:audio|images)/[^/]+)")
"""A deployment, whose name may have slashes, and one of the operations that are asked of one."""


def is_azure(scope: Scope) -> bool:
    """Return whether a request has Azure's form."""
    path: str = scope["path"]
    has_version = VERSION in scope["query_string"] and path.startswith(PREFIX + "/")
    return has_version or path.startswith((BASE + "/", PREFIX + DEPLOYMENTS))


def openai_request(scope: Scope) -> tuple[Scope, str | None]:
    """Return the scope of the same request to OpenAI's path, and the deployment that the path names."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path, deployment = _openai_path(raw.decode("latin-1").partition("?")[0])
    query = b"&".join(
        pair for pair in scope["query_string"].split(b"&") if pair and not pair.startswith(VERSION)
    )
    changed = {
        **scope,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query,
        "headers": _openai_headers(scope["headers"]),
    }
    return changed, deployment


def _openai_path(raw: str) -> tuple[str, str | None]:
    rest = raw.removeprefix(BASE).removeprefix(PREFIX)
    if not rest.startswith(DEPLOYMENTS):
        return PREFIX + rest, None
    rest = rest.removeprefix(DEPLOYMENTS)
    found = _DEPLOYED.fullmatch(rest)
    deployment, operation = found.groups() if found else rest.split("/", 1) if "/" in rest else (rest, "")
    return f"{PREFIX}/{operation}", unquote(deployment)


def _openai_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Replace `api-key` by Authorization; here it is the key of this server, not of a provider."""
    key = next((value for name, value in headers if name == b"api-key"), None)
    if key is None:
        return headers
    rest = [(name, value) for name, value in headers if name not in (b"api-key", b"authorization")]
    return [*rest, (b"authorization", b"Bearer " + key)]
