"""The driver's policies: which node is asked, and what is retried."""

import time
from collections.abc import Iterator
from typing import Any

from cassandra.policies import (
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    LoadBalancingPolicy,
    RetryPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)

AVOID_SECONDS = 10.0
"""Seconds for which a node that let a request time out is asked last."""

SPECULATE_AFTER = 0.3
"""Seconds after which another node is asked what one of them has not answered yet."""


class AvoidFailedHosts(LoadBalancingPolicy):  # type: ignore[misc]
    """Ask replicas in the datacenter first, and those that timed out last.

    The driver believes that a paused node is up until its heartbeats fail.
    """

    def __init__(self, datacenter: str | None) -> None:
        super().__init__()
        nearby = DCAwareRoundRobinPolicy(datacenter) if datacenter else RoundRobinPolicy()
        self._child = TokenAwarePolicy(nearby)
        self._avoided: dict[Any, float] = {}

    def avoid(self, host: Any) -> None:
        """Ask this node last for a while."""
        self._avoided[host] = time.monotonic() + AVOID_SECONDS

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Any]:
        plan = self._child.make_query_plan(working_keyspace, query)
        if not self._avoided:
            yield from plan
            return
        now = time.monotonic()
        self._avoided = {host: until for host, until in self._avoided.items() if until > now}
        last = []
        for host in plan:
            if host in self._avoided:
                last.append(host)
            else:
                yield host
        yield from last

    def populate(self, cluster: Any, hosts: Any) -> None:
        self._child.populate(cluster, hosts)

    def distance(self, host: Any) -> Any:
        return self._child.distance(host)

    def check_supported(self) -> None:
        self._child.check_supported()

    def on_up(self, host: Any) -> None:
        self._avoided.pop(host, None)
        self._child.on_up(host)

    def on_down(self, host: Any) -> None:
        self._child.on_down(host)

    def on_add(self, host: Any) -> None:
        self._child.on_add(host)

    def on_remove(self, host: Any) -> None:
        self._child.on_remove(host)


class RetryIdempotent(RetryPolicy):  # type: ignore[misc]
    """Retry twice, on another node where that helps, and only what is idempotent."""

    def _retry(self, query: Any, retry: int, consistency: Any, *, elsewhere: bool) -> tuple[Any, Any]:
        if retry >= 2 or not getattr(query, "is_idempotent", False):
            return self.RETHROW, None
        return (self.RETRY_NEXT_HOST if elsewhere else self.RETRY), consistency

    def on_read_timeout(self, query: Any, consistency: Any, *_: Any, retry_num: int, **__: Any) -> Any:
        """Retry: a replica did not answer in time."""
        return self._retry(query, retry_num, consistency, elsewhere=False)

    def on_write_timeout(self, query: Any, consistency: Any, *_: Any, retry_num: int, **__: Any) -> Any:
        """Retry: a replica did not confirm in time."""
        return self._retry(query, retry_num, consistency, elsewhere=False)

    def on_unavailable(self, query: Any, consistency: Any, *_: Any, retry_num: int, **__: Any) -> Any:
        """Ask another node, which may see more replicas; nothing was done yet."""
        return (self.RETRY_NEXT_HOST, consistency) if retry_num < 2 else (self.RETHROW, None)

    def on_request_error(self, query: Any, consistency: Any, error: Any, retry_num: int) -> tuple[Any, Any]:
        """Ask another node: the connection broke, or the node is overloaded."""
        return self._retry(query, retry_num, consistency, elsewhere=True)


def speculative_execution() -> Any:
    """Ask another node when the first is slow; the driver does so for idempotent statements only."""
    return ConstantSpeculativeExecutionPolicy(SPECULATE_AFTER, 2)
