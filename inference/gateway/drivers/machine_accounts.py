"""The accounts that the machine's environment has with providers, which callers must not use.

litellm looks for what a request lacks in the environment: a key, a token that goes before a key, a role to
assume, an address. Where callers bring their own keys for any provider, it must find nothing there.
"""

from collections.abc import MutableMapping

PREFIXES = ("AWS_", "AZURE_", "DATABRICKS_", "GOOGLE_", "VERTEX", "WATSONX_", "WML_", "WX_")
SUFFIXES = ("_API_BASE", "_API_KEY", "_API_TOKEN", "_BASE_URL")
WATSONX_NAMES = frozenset({"PROJECT_ID", "REGION", "SPACE_ID"})
KEPT = frozenset({"AWS_CA_BUNDLE"})


def remove_machine_accounts(environment: MutableMapping[str, str]) -> None:
    """Remove the variables that name an account, a key or an address of a provider."""
    for name in list(environment):
        if name in KEPT or name.startswith("ASTROLABE_"):
            continue
        if name.startswith(PREFIXES) or name.endswith(SUFFIXES) or name in WATSONX_NAMES:
            del environment[name]
