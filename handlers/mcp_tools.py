"""MCP servers in requests: what is sent to them is kept apart from the tools, which are stored and shown."""

import re
from dataclasses import replace

from handlers.errors import BadRequest
from inference.gateway import CallerSettings
from persistence.types import JSON

SENT = ("authorization", "headers")
"""Members of a tool that go to its server, and nowhere else."""

MAX_SERVERS = 32
MAX_SENT = 64 * 1024
"""Characters of what a request sends to one server."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def without_secrets(tools: list[JSON]) -> tuple[list[JSON], dict[str, JSON]]:
    """Return tools as they may be stored, and what they send to MCP servers by its label; BadRequest."""
    kept: list[JSON] = []
    sent: dict[str, JSON] = {}
    labels: set[str] = set()
    for index, tool in enumerate(tools):
        if tool["type"] != "mcp":
            kept.append(tool)
            continue
        place, label = f"tools[{index}]", tool["server_label"]
        if label in labels:
            message = f"Duplicate server_label found: '{label}'. Please provide a unique server_label."
            raise BadRequest(message, param=f"{place}.server_label", code="invalid_value")
        labels.add(label)
        secrets = {name: tool[name] for name in SENT if tool.get(name)}
        _check(secrets, place)
        if secrets:
            sent[label] = secrets
        kept.append({name: value for name, value in tool.items() if name not in SENT})
    if len(labels) > MAX_SERVERS:
        raise BadRequest(f"Invalid 'tools': more than {MAX_SERVERS} MCP servers.", param="tools")
    return kept, sent


def refuse_secrets(tools: list[JSON]) -> None:
    """Refuse an assistant's tools that say what is sent to MCP servers: it would be stored. BadRequest."""
    _, sent = without_secrets(tools)
    for index, tool in enumerate(tools):
        if tool.get("server_label") not in sent:
            continue
        message = (
            "'authorization' and 'headers' of MCP servers are not stored with assistants: send them with the "
            "'tools' of each run."
        )
        raise BadRequest(message, param=f"tools[{index}]", code="invalid_value")


def with_servers(settings: CallerSettings | None, sent: dict[str, JSON]) -> CallerSettings | None:
    """Return a caller's settings with what is sent to MCP servers."""
    return replace(settings or CallerSettings(), servers=sent) if sent else settings


def _check(secrets: JSON, place: str) -> None:
    """Refuse what no HTTP header can have."""
    headers = {"authorization": secrets.get("authorization") or "", **(secrets.get("headers") or {})}
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequest(f"Invalid '{place}': the header '{name[:100]}' cannot be sent.", param=place)
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_SENT:
        message = f"Invalid '{place}': more than {MAX_SENT} characters of headers."
        raise BadRequest(message, param=place, code="string_above_max_length")
