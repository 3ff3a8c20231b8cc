"""What files, uploads and vector stores refuse.

FieldError
└── RetrievalError
    ├── ObjectNotFound    no such object in the caller's project
    └── RequestRefused    the request, or the state of what it names, does not allow that
"""

from inference.errors import FieldError


class RetrievalError(FieldError):
    """A request that cannot be served."""


class ObjectNotFound(RetrievalError):
    """No such object in the caller's project."""


class RequestRefused(RetrievalError):
    """The request, or the state of what it names, does not allow that."""


def no_such_file(file: str, param: str = "id") -> ObjectNotFound:
    """Return the error of a file that the project does not have."""
    return ObjectNotFound(f"No such File object: {file}", param=param)


def no_such_vector_store(vector_store: str, param: str = "vector_store_id") -> ObjectNotFound:
    """Return the error of a vector store that the project does not have."""
    return ObjectNotFound(f"No vector store found with id '{vector_store}'.", param=param)


def expired_vector_store(vector_store: str, param: str = "vector_store_id") -> RequestRefused:
    """Return the error of a vector store that has expired: its files are listed, its chunks were deleted."""
    return RequestRefused(f"Vector store '{vector_store}' has expired.", param=param)
