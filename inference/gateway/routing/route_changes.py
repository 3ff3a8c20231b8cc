"""What differs between the routes of two versions of models.yaml."""

from typing import Any

import structlog

from inference.errors import ModelNotFound
from inference.gateway.routing.routes import Routes

log = structlog.get_logger("astrolabe.routing")


def changed_providers(before: Routes, after: Routes) -> set[str]:
    """Return the providers whose account or address is another than before."""
    return {provider for provider, *_ in _accounts(before) ^ _accounts(after)}


def _accounts(routes: Routes) -> set[tuple[Any, ...]]:
    targets = [target for route in routes.routes.values() for target in route.targets]
    return {(t.provider, t.wire, t.base_url, t.api_key, t.headers, t.parameters) for t in targets}


def note_embedding_model(before: Routes, after: Routes) -> None:
    """Log what a change of the embedding model means for the vector stores that were made with it."""
    old, new = before.embedding_model, after.embedding_model
    if old is None:
        return
    if old != new:
        log.info("embedding_model_changed", old=old, new=new, reason="existing vector stores keep theirs")
    was = {target.model for target in before.find(old).targets}
    try:
        now = {target.model for target in after.find(old).targets}
    except ModelNotFound:
        log.warning(
            "embedding_model_removed",
            model=old,
            reason="vector stores that were made with it are searched by words alone",
        )
        return
    if now != was:
        log.warning(
            "embedding_model_rerouted",
            model=old,
            old=sorted(was),
            new=sorted(now),
            reason="vectors of another model do not compare with those that vector stores have",
        )
