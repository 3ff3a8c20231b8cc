"""Calls that need no database: the client sends them with a provider's key and without a token."""

import os

import httpx
import pytest
from conftest import MODEL
from openai import OpenAI, PermissionDeniedError


@pytest.fixture
def fresh() -> OpenAI:
    """A client that has not sent a token yet: from then on it sends it with every call."""
    from astra_assistants import patch

    return patch(OpenAI(max_retries=0))


def test_a_chat_is_completed(fresh: OpenAI):
    answer = fresh.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "You said: hi"
    pieces = fresh.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True
    )
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "You said: hi"


def test_texts_are_embedded(fresh: OpenAI):
    answer = fresh.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    assert len(answer.data) == 2


def test_models_are_listed(fresh: OpenAI):
    assert fresh.models.list().data


def test_what_is_stored_needs_a_token(fresh: OpenAI):
    url = os.environ["ASTROLABE_TEST_URL"]
    with pytest.raises(PermissionDeniedError):
        OpenAI(base_url=url, max_retries=0).beta.assistants.list()
    with pytest.raises(PermissionDeniedError):
        OpenAI(base_url=url, max_retries=0).chat.completions.list()
    assert httpx.get(f"{url}/models").status_code == 403
