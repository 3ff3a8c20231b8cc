"""The only way to a model: routes by name, drivers by wire, errors as OpenAI's."""

from inference.gateway.gateway import Gateway
from inference.gateway.normalize import ChunkAccumulator
from inference.gateway.routes import Routes
from inference.gateway.targets import CallerPolicy, Credentials

__all__ = ["CallerPolicy", "ChunkAccumulator", "Credentials", "Gateway", "Routes"]
