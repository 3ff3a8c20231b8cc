"""Ids of new objects; the engine and retrieval make them too, so they are made in inference."""

from inference.identifiers import new_id

__all__ = ["new_id"]
