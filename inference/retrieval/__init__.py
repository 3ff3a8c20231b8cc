"""From an uploaded file to a cited answer."""

from inference.retrieval.errors import ObjectNotFound, RequestRefused, RetrievalError
from inference.retrieval.retrieval import Retrieval
from inference.retrieval.search import Found, RankingOptions

__all__ = ["Found", "ObjectNotFound", "RankingOptions", "RequestRefused", "Retrieval", "RetrievalError"]
