"""What items hold for this server alone, encrypted: reasoning for its provider, and compacted contexts.

Encryption is deterministic (AES-SIV), so that a stream which another replica renders again has the same
bytes. It is bound to the project and to the type of the item.
"""

import base64
import binascii
import hmac
import importlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from inference.engine.summaries import summary_text
from inference.responses.items import EXTRA, OUTPUT_TYPES
from persistence.collections import SEALING_KEYS, SYSTEM
from persistence.errors import AlreadyExists
from persistence.store import Insert, Key, Store, child_id
from persistence.types import JSON

LIST = "keys"

VERSION = b"\x01"
FINGERPRINT_BYTES = 5
"""With the version they are 8 characters of base64."""

HEAD = 8

ENCRYPTED = "encrypted_content"
"""The member of an item that holds the encrypted content."""

SEALED = frozenset({"reasoning", "compaction"})
"""Types of items that have it."""

log = structlog.get_logger("astrolabe.sealing")


@dataclass(frozen=True, slots=True)
class _SealingKey:
    head: str
    cipher: Any


class ItemSealer:
    """Encrypts contents of items under the operator's first secret; any of the secrets decrypts them.

    Without a secret the store keeps a key, which the first process that opens it makes. What that key
    encrypted stays readable when the operator sets a secret later.
    """

    def __init__(self, store: Store, operator_secrets: Sequence[str] = ()) -> None:
        self._store = store
        self._secrets = operator_secrets
        self._keys: list[_SealingKey] = []

    async def open(self) -> None:
        """Read the keys; make the store's if there is none and the operator has set no secret."""
        keys = [_key(secret.encode()) for secret in self._secrets]
        stored = await self._stored()
        self._keys = keys if stored is None else [*keys, _key(stored)]

    async def _stored(self) -> bytes | None:
        key = Key(SYSTEM, SEALING_KEYS, child_id(LIST, "items"))  # as a child it is written at once, or not
        document = await self._store.get(key)
        if document is None and self._secrets:
            return None
        if document is None:
            made = Insert(key, {"key": base64.b64encode(secrets.token_bytes(32)).decode()}, parent=LIST)
            try:
                (document,) = await self._store.write(made)
            except AlreadyExists:
                document = await self._store.get(key)
        if document is None:
            raise RuntimeError("the store has no sealing key right after it was made")
        return base64.b64decode(document.value["key"])

    @property
    def can_seal(self) -> bool:
        """Whether there is a key: not for callers who have no store."""
        return bool(self._keys)

    def seal(self, project: str, type: str, content: JSON) -> str:
        """Return the content of an item of that type, encrypted; the same content gives the same text."""
        key = self._keys[0]
        plain = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        encrypted = key.cipher.encrypt(plain, [project.encode(), type.encode()])
        return key.head + base64.urlsafe_b64encode(encrypted).decode()

    def unseal(self, project: str, item: JSON) -> JSON | None:
        """Return what an item holds encrypted, None if it has nothing or cannot be read, which is logged."""
        sealed = item.get(ENCRYPTED) if item["type"] in SEALED else None
        if not sealed:
            return None
        for key in self._keys:
            if sealed.startswith(key.head):
                content = _decrypted(key, sealed, [project.encode(), item["type"].encode()])
                if content is not None:
                    return content
        log.warning("sealed_content_unreadable", project=project, item=item.get("id"), type=item["type"])
        return None


def since_compaction(items: list[JSON], sealer: ItemSealer, project: str) -> list[JSON]:
    """Return the items from the last compaction on that can be read.

    A client that keeps its own state may have put there itself what should stay: then nothing but messages of
    users and developers is before the compaction, and they stay.
    """
    for at in range(len(items) - 1, 0, -1):
        if items[at]["type"] == "compaction" and sealer.unseal(project, items[at]) is not None:
            is_chosen = all(item["type"] == "message" and item["role"] != "assistant" for item in items[:at])
            return items if is_chosen else items[at:]
    return items


def unsealed_items(items: list[JSON], sealer: ItemSealer, project: str, provider: str | None) -> list[JSON]:
    """Return items with what they hold encrypted, as `chat_messages` reads it.

    Reasoning gets `blocks` and `text` if this provider made it, and calls get what it wants back with them. A
    compaction gets `summary_text` and `system`.
    """
    contents = [sealer.unseal(project, item) for item in items]
    own = [content if content and content["provider"] == provider else None for content in contents]
    extras = {id: extra for content in own if content for id, extra in content.get("extras", {}).items()}
    unsealed: list[JSON] = []
    for item, content, of_provider in zip(items, contents, own, strict=True):
        added: JSON = {}
        if item["type"] == "compaction" and content:
            text = summary_text(content["summary"], content["latest"])
            added = {"summary_text": text, "system": content["system"]}
        elif item["type"] == "reasoning" and of_provider:
            added = {"blocks": of_provider["blocks"], "text": of_provider["text"]}
        elif item["type"] in OUTPUT_TYPES and item.get("call_id") in extras:
            added = {EXTRA: extras[item["call_id"]]}
        unsealed.append({**item, **added})
    return unsealed


def _key(secret: bytes) -> _SealingKey:
    siv = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead").AESSIV  # takes 50 ms
    name = hmac.digest(secret, b"astrolabe: fingerprint of the key of items", "sha256")[:FINGERPRINT_BYTES]
    head = base64.urlsafe_b64encode(VERSION + name).decode()
    return _SealingKey(head, siv(hmac.digest(secret, b"astrolabe: contents of items", "sha512")))


def _decrypted(key: _SealingKey, sealed: str, bound_to: list[bytes]) -> JSON | None:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _key

    try:
        encrypted = base64.b64decode(sealed[HEAD:], altchars=b"-_", validate=True)
        content: JSON = orjson.loads(key.cipher.decrypt(encrypted, bound_to))
    except (binascii.Error, ValueError, InvalidTag):
        return None
    return content
