"""Credentials files of Google's, as callers upload them: only forms that lead to Google alone."""

import orjson

HOST = "https://oauth2.googleapis.com/token"
NEEDED = {
    "service_account": ("client_email", "private_key", "private_key_id", "project_id"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
}
"""The members of each form. Others, such as `external_account`, name files, commands and hosts."""


def google_credentials(content: bytes) -> str:
    """Return the needed members of a credentials file as JSON; ValueError says what is wrong."""
    try:
        value = orjson.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the content is at fault
    kind = value.get("type")
    needed = NEEDED.get(kind) if isinstance(kind, str) else None
    if needed is None:
        raise ValueError(f"its type is not one of {', '.join(NEEDED)}")
    missing = [name for name in needed if not isinstance(value.get(name), str)]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    kept = {name: value[name] for name in needed}
    return orjson.dumps({"type": kind, **kept, "token_uri": HOST}).decode()
