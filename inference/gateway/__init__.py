"""Access to models: routes by name, one port to providers, answers in OpenAI's form."""

from inference.gateway.answers.accumulator import ChunkAccumulator
from inference.gateway.callers import CallerPolicy, CallerSettings, Credentials
from inference.gateway.gateway import Gateway
from inference.gateway.routing.routes import Routes

__all__ = ["CallerPolicy", "CallerSettings", "ChunkAccumulator", "Credentials", "Gateway", "Routes"]
