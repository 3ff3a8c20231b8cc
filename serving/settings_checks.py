"""Checks of settings that only make sense together; each error names a variable, its value and what to do."""

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from serving.errors import SettingsRefused
from serving.shown_urls import without_secrets

if TYPE_CHECKING:
    from serving.settings import Settings

BUBBLEWRAP, NO_SANDBOX = "bubblewrap", "none"
"""Values of ASTROLABE_SANDBOX; any other is the command of an OCI runtime."""


def check_together(settings: "Settings") -> None:
    """Refuse settings that contradict each other; raises SettingsRefused."""
    _refuse_open_network(settings)
    _check_search(settings)
    _check_image(settings)


def _refuse_open_network(settings: "Settings") -> None:
    """Refuse to let anybody on the network in without a key, or with a token that nobody checks."""
    is_checked = settings.auth == "keys" or settings.opens_store_per_token
    if is_checked or settings.allow_open or _is_loopback(settings.host):
        return
    raise SettingsRefused(
        f"HOST={settings.host}: ASTROLABE_AUTH={settings.auth} serves anybody who reaches that address. "
        "Set ASTROLABE_AUTH=keys (keys: astrolabe keys create --project NAME), listen on 127.0.0.1, "
        "or say ASTROLABE_ALLOW_OPEN=true."
    )


def _check_search(settings: "Settings") -> None:
    """Refuse a search service that lacks its URL or key, and a URL or key without a service."""
    service, url, key = settings.search_service, settings.search_url, settings.search_key
    given = [name for name, value in (("URL", url), ("KEY", key)) if value is not None]
    if service is None:
        if given:
            raise SettingsRefused(
                f"ASTROLABE_SEARCH_{given[0]} is set, but not ASTROLABE_SEARCH_SERVICE: set it to "
                "searxng, brave or tavily."
            )
        return
    needed = "URL" if service == "searxng" else "KEY"
    if needed not in given:
        raise SettingsRefused(f"ASTROLABE_SEARCH_SERVICE={service}: needs ASTROLABE_SEARCH_{needed}. Set it.")
    parts = urlsplit(url or "http://any")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise SettingsRefused(
            f"ASTROLABE_SEARCH_URL={without_secrets(url or '')}: should be a URL of http or https "
            "without a password or parameters. A key belongs in ASTROLABE_SEARCH_KEY."
        )


def _check_image(settings: "Settings") -> None:
    """Refuse an OCI runtime without an image, and an image without an OCI runtime."""
    is_runtime = settings.sandbox not in (BUBBLEWRAP, NO_SANDBOX)
    if is_runtime and settings.sandbox_image is None:
        raise SettingsRefused(
            f"ASTROLABE_SANDBOX={settings.sandbox}: set ASTROLABE_SANDBOX_IMAGE to the image that the code "
            "runs in (deploy/sandbox.Dockerfile makes one)."
        )
    if settings.sandbox_image is not None and not is_runtime:
        raise SettingsRefused(
            f"ASTROLABE_SANDBOX_IMAGE={settings.sandbox_image}: ASTROLABE_SANDBOX={settings.sandbox} uses no "
            "image. Set ASTROLABE_SANDBOX to the command of an OCI runtime, such as docker."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
