"""Cross-origin requests (CORS): which pages of other origins may call the API."""

from serving.request import Request
from serving.responses import RawHeaders, Response

EXPOSED = (
    b"x-request-id, openai-processing-ms, openai-poll-after-ms, openai-version, retry-after, x-should-retry"
)
METHODS = b"GET, POST, DELETE, PUT, PATCH"
MAX_AGE = b"600"


class Cors:
    """Allows origins; `*` allows every origin. Without an allowed origin nothing is added."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)

    def headers(self, request: Request) -> RawHeaders:
        """Return the headers of a response to a page of the request's origin."""
        if not self._origins:
            return []
        origin = request.headers.raw(b"origin")
        vary = (b"vary", b"Origin")
        if not self.allows(origin):
            return [vary]
        exposed = (b"access-control-expose-headers", EXPOSED)
        return [vary, (b"access-control-allow-origin", origin), exposed]

    def preflight(self, request: Request) -> Response | None:
        """Return the response of a preflight request; None for any other request."""
        headers = request.headers
        if not self._origins or request.method != "OPTIONS":
            return None
        if not headers.raw(b"access-control-request-method") or not self.allows(headers.raw(b"origin")):
            return None
        asked = headers.raw(b"access-control-request-headers") or b"authorization, content-type"
        answer = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", MAX_AGE),
            (b"content-length", b"0"),
        ]
        return Response(204, answer, b"")

    def allows(self, origin: bytes) -> bool:
        """Return whether pages of an origin may call the API."""
        return bool(origin) and (origin in self._origins or b"*" in self._origins)
