"""The only way to a model: routes by name, drivers by wire, errors as OpenAI's."""

from inference.gateway.gateway import Gateway
from inference.gateway.objects import Fold
from inference.gateway.routes import Routes
from inference.gateway.targets import Callers, Credentials

__all__ = ["Callers", "Credentials", "Fold", "Gateway", "Routes"]
