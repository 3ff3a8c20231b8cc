"""Small models that run beside the workers, for a server without any provider (extra `local`)."""

from astrolabe_server.inference.gateway.local.driver import LocalWire
from astrolabe_server.inference.gateway.local.process import LocalModels

__all__ = ["LocalModels", "LocalWire"]
