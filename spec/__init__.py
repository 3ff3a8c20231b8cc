"""OpenAI's openapi.yaml: loaded, normalized, routed and validated."""
