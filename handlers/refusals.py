"""What files, uploads and vector stores refuse, as the API's errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from handlers.errors import BadRequest, NotFound
from inference.retrieval.errors import ObjectNotFound, RequestRefused


@contextmanager
def refusals() -> Iterator[None]:
    """Answer 404 for an ObjectNotFound and 400 for a RequestRefused raised in the block."""
    try:
        yield
    except ObjectNotFound as exc:
        raise NotFound(exc.message, param=exc.param, code=exc.code) from exc
    except RequestRefused as exc:
        raise BadRequest(exc.message, param=exc.param, code=exc.code) from exc
