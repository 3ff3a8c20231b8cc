"""Three real nodes for the tests of this folder, which run only with `pytest -m cluster`."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.cassandra.cluster import (
    BUILD,
    LocalCluster,
    Node,
    NodeError,
    free_port,
    jars,
    missing,
)
from persistence.cassandra import CassandraStore
from tests.fixtures.required import unavailable
from tests.fixtures.stores import store_at


@pytest.fixture(scope="session")
def nodes() -> Iterator[list[Node]]:
    """Three nodes, started one after the other.

    With `ASTROLABE_TEST_CLUSTER=folder` their data is kept in that folder, and they keep running.
    """
    if reason := missing():
        unavailable(f"no Cassandra: {reason}")
    kept = os.environ.get("ASTROLABE_TEST_CLUSTER")
    folder = Path(kept) if kept else BUILD / f"cluster-{secrets.token_hex(4)}"
    cluster = LocalCluster.create(folder, 3, port=free_port(), storage_port=free_port(), brief=True)
    try:
        cluster.start()
        yield cluster.nodes
    except NodeError as error:
        unavailable(f"no Cassandra: {error}")
    finally:
        if kept:
            cluster.save()
        else:
            cluster.stop(erase=True)


@pytest.fixture
def all_up(nodes: list[Node]) -> Iterator[list[Node]]:
    """The nodes; those that the test kills are started again when it ends."""
    yield nodes
    for node in nodes:
        revive(node)


def revive(node: Node) -> None:
    """Start a node again if it was killed."""
    if not node.alive():
        node.start(jars())


@pytest.fixture(scope="session")
def cluster_url(nodes: list[Node]) -> str:
    """The URL of a keyspace that all three nodes hold."""
    points = ",".join(f"{node.address}:{node.port}" for node in nodes)
    return f"cassandra://{points}/astrolabe?dc=datacenter1&rf=3"


@pytest.fixture
async def store(cluster_url: str) -> AsyncIterator[CassandraStore]:
    async with store_at(cluster_url) as store:
        assert isinstance(store, CassandraStore)
        yield store
