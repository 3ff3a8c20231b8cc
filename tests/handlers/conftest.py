from tests.fixtures.library import library

__all__ = ["library"]
