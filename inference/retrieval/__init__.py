"""From an uploaded file to a cited answer."""

from astrolabe_server.inference.retrieval.errors import ObjectNotFound, RequestRefused, RetrievalError
from astrolabe_server.inference.retrieval.retrieval import Retrieval
from astrolabe_server.inference.retrieval.search import Found, RankingOptions

__all__ = ["Found", "ObjectNotFound", "RankingOptions", "RequestRefused", "Retrieval", "RetrievalError"]
