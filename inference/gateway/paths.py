"""Paths of OpenAI's API that the drivers know."""

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
EMBEDDINGS = "/embeddings"
MODELS = "/models"
MODERATIONS = "/moderations"

NO_MODELS = b'{"object":"list","data":[]}'
"""The list of a driver that can name no models."""
