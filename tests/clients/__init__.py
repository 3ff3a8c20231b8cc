"""Programs that use the server with SDKs and frameworks other than OpenAI's Python SDK."""
