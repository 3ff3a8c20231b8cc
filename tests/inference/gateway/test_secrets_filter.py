"""Secrets are found in long texts too, wherever they are."""

import pytest

from inference.gateway import secrets_filter
from inference.gateway.secrets_filter import SecretsFilter

SECRET = "sk-secret-of-many-characters"


@pytest.mark.parametrize("place", [0, 95, 100, 5000])
async def test_a_secret_is_found_across_windows(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    monkeypatch.setattr(secrets_filter, "WINDOW", 100)
    monkeypatch.setattr(secrets_filter, "OVERLAP", 50)
    body = b"x" * place + SECRET.encode() + b"y" * 1000
    assert await SecretsFilter([SECRET]).may_be_in_large(body)
    assert not await SecretsFilter([SECRET]).may_be_in_large(body.replace(b"secret", b"nothin"))
