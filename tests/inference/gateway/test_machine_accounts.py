"""What a server whose callers bring their own keys forgets of its machine's accounts."""

from inference.gateway.drivers.machine_accounts import remove_machine_accounts


def test_accounts_keys_and_addresses_of_providers_are_removed_and_nothing_else() -> None:
    kept = {
        "ASTROLABE_SECRET": "s", "AWS_CA_BUNDLE": "/ca.pem", "HOME": "/root", "HTTPS_PROXY": "http://p",
        "PATH": "/bin", "PROMETHEUS_MULTIPROC_DIR": "/tmp/m", "SSL_CERT_FILE": "/ca.pem",
    }  # fmt: skip
    removed = dict.fromkeys(
        (
            "ANTHROPIC_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE_NAME", "AWS_ROLE_NAME",
            "AZURE_AD_TOKEN", "DATABRICKS_CLIENT_SECRET", "GEMINI_API_BASE", "GOOGLE_APPLICATION_CREDENTIALS",
            "OPENAI_BASE_URL", "PROJECT_ID", "REPLICATE_API_TOKEN", "VERTEXAI_PROJECT", "WATSONX_TOKEN",
        ),
        "the-machines",
    )  # fmt: skip
    environment = {**kept, **removed}
    remove_machine_accounts(environment)
    assert environment == kept
