"""The operator's file of webhooks: which URLs get which events. `webhooks.example.yaml` shows every key."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import yarl
from pydantic import Field

from inference.errors import WebhooksRefused
from inference.gateway.http.hosts import HostGuard
from inference.yaml_file import Entry, YamlFile

Event = Literal[
    "response.completed",
    "response.failed",
    "response.cancelled",
    "response.incomplete",
    "batch.completed",
    "batch.failed",
    "batch.cancelled",
    "batch.expired",
]

SECRET = "whsec_"  # noqa: S105 - how secrets begin
SECRET_BYTES = range(16, 65)
"""How many bytes a secret has."""


class Endpoint(Entry):
    """A URL that gets events, signed with its secret."""

    url: str
    secret: str
    events: Annotated[list[Event], Field(min_length=1)] = Field(default_factory=lambda: [*get_args(Event)])


class _File(Entry):
    projects: dict[str, list[Endpoint]]
    private_hosts: list[str] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Registry:
    """The endpoints of each project, and the hosts that they may name."""

    projects: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    guard: HostGuard = field(default_factory=HostGuard)

    @classmethod
    def from_file(cls, path: Path, environment: Mapping[str, str]) -> "Registry":
        """Read a file; WebhooksRefused names the file, the line and the reason."""
        document = YamlFile.read(path, environment, WebhooksRefused)
        file = document.parsed(_File)
        guard = HostGuard(frozenset(host.lower() for host in file.private_hosts))
        for project, endpoints in file.projects.items():
            urls = [endpoint.url for endpoint in endpoints]
            for place, endpoint in enumerate(endpoints):
                where = ("projects", project, place)
                if reason := _fault_of_url(endpoint.url, guard):
                    raise document.refused((*where, "url"), reason)
                if endpoint.url in urls[:place]:
                    raise document.refused((*where, "url"), "this project has the same URL above")
                if reason := _fault_of_secret(endpoint.secret):
                    raise document.refused((*where, "secret"), reason)
        return cls({name: tuple(endpoints) for name, endpoints in file.projects.items()}, guard)

    def of(self, project: str, event: str) -> list[Endpoint]:
        """Return a project's endpoints that get an event."""
        return [each for each in self.projects.get(project, ()) if event in each.events]


def _fault_of_url(text: str, guard: HostGuard) -> str:
    """Return what is wrong with an endpoint's URL, "" if nothing is."""
    try:
        url = yarl.URL(text)
        listed = f"{url.host}:{url.port}"
    except ValueError:
        return "is not a valid URL"
    if url.scheme not in ("http", "https") or not url.host:
        return "is not a URL that begins with https://"
    if url.user or url.password:
        return "has a user name or password in it; the receiver checks the signature instead"
    if guard.lists(url):
        return ""
    if url.scheme == "http":
        return f"is not https; list '{listed}' under private_hosts if it is a host of your network"
    if guard.is_private_address(url.host):
        return f"is not a public address; list '{listed}' under private_hosts if it may be called"
    return ""


def _fault_of_secret(secret: str) -> str:
    """Return what is wrong with a secret, "" if nothing is. It never names the secret."""
    advice = "write whsec_ and 24 to 64 random bytes as base64: echo whsec_$(openssl rand -base64 32)"
    if not secret.startswith(SECRET):
        return f"does not begin with whsec_; {advice}"
    try:
        size = len(base64.b64decode(secret.removeprefix(SECRET), validate=True))
    except binascii.Error:
        return f"is not base64 behind whsec_; {advice}"
    return "" if size in SECRET_BYTES else f"has {size} bytes; {advice}"
