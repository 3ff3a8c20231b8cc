"""Paths of OpenAI's API that the drivers know."""

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
EMBEDDINGS = "/embeddings"
MODELS = "/models"
MODERATIONS = "/moderations"
