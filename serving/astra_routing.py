"""Paths and versions as in the Astra Assistants API; only with `ASTROLABE_AUTH=astra`."""

import re

from handlers.errors import BadRequest
from serving.request import Scope
from serving.routing import ASSISTANTS_V1, PREFIX, Routing

V2_PREFIX = "/v2"
BETA = b"openai-beta"
ASSISTANTS_V2 = b"assistants=v2"

ASSISTANTS = re.compile("/(assistants|threads)(/|$)")
"""Paths that both versions have. Others, such as chat completions, have one version and no header."""


class AstraRouting(Routing):
    """Takes a request to the Assistants API without `OpenAI-Beta` for version 1, as that server did."""

    def is_assistants_v1(self, path: str, beta: bytes) -> bool:
        """Return whether a request means version 1; raises BadRequest for versions that do not exist."""
        if ASSISTANTS.match(path) is None:
            return super().is_assistants_v1(path, beta)
        is_v1, is_v2 = ASSISTANTS_V1 in beta, ASSISTANTS_V2 in beta
        if beta and is_v1 == is_v2:
            raise BadRequest(
                f"The header 'OpenAI-Beta' is '{beta[:64].decode('latin-1')}'. Send 'assistants=v2' or "
                "'assistants=v1'; without the header it is version 1.",
                code="invalid_header",
            )
        return not is_v2


def v1_prefixed(scope: Scope) -> Scope:
    """Return the scope of the same request under `/v1`, where it came under `/v2`, which means version 2."""
    if not scope["path"].startswith(V2_PREFIX + "/"):
        return scope
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    headers = scope["headers"]
    if not any(name == BETA for name, _ in headers):
        headers = [*headers, (BETA, ASSISTANTS_V2)]
    return {
        **scope,
        "path": PREFIX + scope["path"].removeprefix(V2_PREFIX),
        "raw_path": PREFIX.encode() + raw.removeprefix(V2_PREFIX.encode()),
        "headers": headers,
    }
