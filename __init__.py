"""Astrolabe: OpenAI's HTTP API from OpenAI's own openapi.yaml, on your database and any model."""
