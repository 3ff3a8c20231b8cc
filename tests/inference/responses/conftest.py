from tests.inference.engine.conftest import gateway, store

__all__ = ["gateway", "store"]
