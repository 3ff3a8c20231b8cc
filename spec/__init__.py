"""OpenAI's openapi.yaml: loaded, mended, routed, validated."""
