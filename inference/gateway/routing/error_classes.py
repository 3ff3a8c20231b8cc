"""Which class an error of a provider belongs to, by which fallbacks are chosen."""

import re

from inference.errors import ProviderError, ProviderLimited, ProviderRejected
from inference.gateway.failures import TRANSIENT, WRONG_ACCOUNT
from inference.gateway.routing.routes import ErrorClass

TOO_LARGE = frozenset({400, 413, 422})
"""Statuses of a request that is longer than the model's context window."""

CONTEXT_WINDOW_CODES = frozenset(
    {
        "context_length_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
        "tokens_limit_reached",
    }
)

CONTENT_POLICY_CODES = frozenset(
    {
        "content_filter", "content_policy_violation", "data_inspection_failed", "moderation_blocked",
        "responsibleaipolicyviolation", "sensitive_content",
    }
)  # fmt: skip

_CONTEXT_WINDOW = re.compile(
    r"context (?:length|window|size|limit)|prompt is too long|input is too long|too many (?:input )?tokens"
    r"|maximum number of tokens|reduce the length|exceeds? (?:the )?max(?:imum)? (?:input )?(?:length|tokens)"
    r"|longer than the maximum model length|request too large",
    re.IGNORECASE,
)
_CONTENT_POLICY = re.compile(
    r"content (?:management )?policy|content[ _]filter|safety system|usage polic|flagged as",
    re.IGNORECASE,
)


def error_class(error: ProviderError) -> ErrorClass | None:
    """Return the class of an error; None if every provider would refuse the request."""
    if isinstance(error, ProviderLimited):
        return "rate_limit"
    if not isinstance(error, ProviderRejected):
        return "server_error"
    words = {str(error.body.get(name) or "").lower() for name in ("code", "type")}
    if words & CONTENT_POLICY_CODES:
        return "content_policy"
    if words & CONTEXT_WINDOW_CODES or error.status == 413:
        return "context_window"
    if error.status in TOO_LARGE:
        if _CONTEXT_WINDOW.search(error.message):
            return "context_window"
        return "content_policy" if _CONTENT_POLICY.search(error.message) else None
    if error.status in TRANSIENT:
        return "server_error"
    return "default" if error.status in WRONG_ACCOUNT else None
