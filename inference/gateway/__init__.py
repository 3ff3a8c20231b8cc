"""The only way to a model: routes by name, drivers by wire, errors as OpenAI's."""

from astrolabe_server.inference.gateway.gateway import Gateway
from astrolabe_server.inference.gateway.objects import Fold
from astrolabe_server.inference.gateway.routes import Routes
from astrolabe_server.inference.gateway.targets import Callers, Credentials

__all__ = ["Callers", "Credentials", "Fold", "Gateway", "Routes"]
