"""A real Cassandra node for the tests, shared by all processes of a test run and by later runs.

`ASTROLABE_TEST_CASSANDRA=host:port` names one that runs already; else one is started on a free port
and stopped by whoever uses it last.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cassandra.cluster import Cluster

from deploy.cassandra.cluster import BUILD, LocalCluster, NodeError, free_port, missing

FOLDER = BUILD / "test"


@pytest.fixture(scope="session")
def cassandra_url() -> Iterator[str]:
    """The URL of a keyspace of this process's own on a single node; skips where none can run."""
    with cassandra_node() as contact_points:
        keyspace = f"t_{secrets.token_hex(6)}"
        yield f"cassandra://{contact_points}/{keyspace}?dc=datacenter1&rf=1"
        drop(contact_points, keyspace)


def drop(contact_points: str, keyspace: str) -> None:
    """Let the node forget a keyspace, whose tables would take its memory for good."""
    host, _, port = contact_points.partition(":")
    with Cluster([host], port=int(port)) as cluster:
        cluster.connect().execute(f"DROP KEYSPACE IF EXISTS {keyspace}", timeout=120)


@contextmanager
def cassandra_node() -> Iterator[str]:
    """`host:port` of a node that runs while this is open; skips the test where none can run."""
    if running := os.environ.get("ASTROLABE_TEST_CASSANDRA"):
        yield running
        return
    if reason := missing():
        pytest.skip(f"no Cassandra: {reason}")
    try:
        contact_points = _join()
    except NodeError as error:
        pytest.skip(f"no Cassandra: {error}")
    try:
        yield contact_points
    finally:
        _leave()


def _join() -> str:
    with _locked():
        cluster = LocalCluster(FOLDER / "node")
        if not cluster.nodes or not cluster.nodes[0].alive():
            cluster.stop(erase=True)
            cluster = LocalCluster.create(
                FOLDER / "node", 1, port=free_port(), storage_port=free_port(), unsafe=True, brief=True
            )
            cluster.start()
        _users().mkdir(parents=True, exist_ok=True)
        (_users() / str(os.getpid())).touch()
        return cluster.contact_points


def _leave() -> None:
    with _locked():
        (_users() / str(os.getpid())).unlink(missing_ok=True)
        others = [user for user in _users().iterdir() if Path(f"/proc/{user.name}").exists()]
        if not others:
            LocalCluster(FOLDER / "node").stop(erase=True)


def _users() -> Path:
    return FOLDER / "users"


@contextmanager
def _locked() -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
