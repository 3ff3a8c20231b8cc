from tests.inference.engine.conftest import asked, gateway, store

__all__ = ["asked", "gateway", "store"]
