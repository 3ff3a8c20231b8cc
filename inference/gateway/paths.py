"""Paths of OpenAI's API that the drivers know."""

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
EMBEDDINGS = "/embeddings"
INPUT_TOKENS = "/responses/input_tokens"
MODELS = "/models"
MODERATIONS = "/moderations"
