"""Access to models: routes by name, one port to providers, answers in OpenAI's form."""

from inference.gateway.accumulator import ChunkAccumulator
from inference.gateway.gateway import Gateway
from inference.gateway.routes import Routes
from inference.gateway.targets import CallerPolicy, Credentials

__all__ = ["CallerPolicy", "ChunkAccumulator", "Credentials", "Gateway", "Routes"]
