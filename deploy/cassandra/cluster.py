"""Run real Apache Cassandra 5 nodes on this machine, without Docker or an installation.

    python deploy/cassandra/cluster.py start            three nodes on 127.0.0.1, .2 and .3, port 9042
    python deploy/cassandra/cluster.py start --nodes 1  a single one
    python deploy/cassandra/cluster.py status
    python deploy/cassandra/cluster.py stop             stops them; their data stays
    python deploy/cassandra/cluster.py stop --erase     stops them and deletes their data

The jars come from Maven (once, into build/cassandra/lib) or from CASSANDRA_HOME. Needs java 11 or 17.
The settings suit a small machine: 512 MB of heap per node by default, no JMX, small caches.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "cassandra"
READY = "Starting listening for CQL clients"
START_TIMEOUT = 180.0
DATACENTER = "datacenter1"

_EXPORTS = (
    "java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch "
    "java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server "
    "java.sql/java.sql java.base/java.lang.ref java.base/jdk.internal.util java.base/jdk.internal.reflect "
    "jdk.unsupported/sun.misc jdk.attach/sun.tools.attach"
)
_OPENS = (
    "java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref "
    "java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module "
    "java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch "
    "java.base/java.io java.base/java.lang java.base/java.lang.reflect java.base/java.nio "
    "java.base/java.util java.base/java.util.concurrent java.base/java.util.concurrent.atomic "
    "java.base/java.net"
)


class NodeError(Exception):
    """A node cannot be started; the message says why."""


def jars(build: Path = BUILD) -> Path:
    """Return the folder of Cassandra's jars, fetched if missing; NodeError where that fails."""
    if home := os.environ.get("CASSANDRA_HOME"):
        return Path(home) / "lib"
    lib = build / "lib"
    with _locked(build / "lib.lock"):
        if not list(lib.glob("apache-cassandra-*.jar")) and not list(lib.glob("cassandra-all-*.jar")):
            _fetch(lib)
    return lib


def missing() -> str | None:
    """Return why no node can be started on this machine, or None."""
    if shutil.which("java") is None:
        return "java is not installed"
    if "CASSANDRA_HOME" not in os.environ and shutil.which("mvn") is None and not (BUILD / "lib").is_dir():
        return "neither Maven is installed nor CASSANDRA_HOME set"
    return None


def _fetch(lib: Path) -> None:
    if shutil.which("mvn") is None:
        raise NodeError("Maven is not installed, and CASSANDRA_HOME is not set")
    part = lib.with_name("lib.part")
    shutil.rmtree(part, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={part}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NodeError(f"Maven could not fetch Cassandra's jars: {done.stdout[-2000:]}")
    part.rename(lib)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass
class Node:
    """One Cassandra process: its folder, where it listens, and its process id once it runs."""

    directory: str
    address: str
    seed: str
    port: int = 9042
    storage_port: int = 7000
    heap: str = "512m"
    unsafe: bool = False
    brief: bool = False
    passwords: bool = False
    pid: int = 0

    @property
    def log(self) -> Path:
        """Return the path of the process's output."""
        return Path(self.directory) / "node.log"

    def start(self, lib: Path, *, wait: bool = True) -> None:
        """Run the node in its own session; return once it accepts clients."""
        home = Path(self.directory)
        home.mkdir(parents=True, exist_ok=True)
        configuration = home / "cassandra.yaml"
        configuration.write_text(self._configuration())
        # A shell starts it and exits, so that the node is not our child and outlives us.
        shell = ["sh", "-c", 'exec 3>&1 >"$0" 2>&1; "$@" 3>&- & echo $! >&3', str(self.log)]
        started = subprocess.run(
            [*shell, *self._command(lib, configuration)],
            stdout=subprocess.PIPE,
            start_new_session=True,
            check=True,
        )
        self.pid = int(started.stdout)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the node accepts clients."""
        deadline = time.monotonic() + START_TIMEOUT
        while READY not in self.log.read_text(errors="replace"):
            if not self.alive():
                raise NodeError(f"Cassandra stopped while starting: {self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise NodeError(f"Cassandra was not up after {START_TIMEOUT:.0f} s: {self._log_tail()}")
            time.sleep(0.1)

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def alive(self) -> bool:
        """Return whether the process runs; a paused one does."""
        if not self.pid:
            return False
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state != "Z"

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL and SIGTERM wait for the end."""
        if not self.alive():
            return
        os.kill(self.pid, sig)
        while sig in {signal.SIGKILL, signal.SIGTERM} and self.alive():
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the node gracefully."""
        self.kill(signal.SIGCONT)
        self.kill(signal.SIGTERM)

    def _command(self, lib: Path, configuration: Path) -> list[str]:
        agent = next(iter(sorted(lib.glob("jamm-*.jar"))), None)
        if agent is None:
            raise NodeError(f"{lib} holds no Cassandra")
        flags = [f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS.split()]
        flags += [f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS.split()]
        if self.unsafe:  # do not flush the schema to disk on each change: creates tables in milliseconds
            flags.append("-Dcassandra.unsafesystem=true")
        if self.passwords:  # create the superuser at once
            flags.append("-Dcassandra.superuser_setup_delay_ms=0")
        return [
            "java",
            f"-javaagent:{agent}",
            *flags,
            f"-Xms{self.heap}",
            f"-Xmx{self.heap}",
            "-Xss512k",
            "-XX:+UseSerialGC",
            # The full compiler would take half of the CPU of a node that lives for minutes.
            f"-XX:TieredStopAtLevel={1 if self.brief else 4}",
            "-Djdk.attach.allowAttachSelf=true",
            "-Dcassandra-foreground=yes",
            f"-Dcassandra.config={configuration.as_uri()}",
            f"-Dcassandra.storagedir={self.directory}",
            "-Dcassandra.ring_delay_ms=2000",
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            f"-Dlogback.configurationFile={HERE / 'logback.xml'}",
            "-cp",
            f"{lib}/*",
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def _configuration(self) -> str:
        home = Path(self.directory)
        settings = {
            "cluster_name": "astrolabe",
            "num_tokens": 4,
            "allocate_tokens_for_local_replication_factor": 3,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "endpoint_snitch": "SimpleSnitch",
            "seed_provider": [
                {
                    "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                    "parameters": [{"seeds": f"{self.seed}:{self.storage_port}"}],
                }
            ],
            "listen_address": self.address,
            "rpc_address": self.address,
            "native_transport_port": self.port,
            "storage_port": self.storage_port,
            "data_file_directories": [str(home / "data")],
            "commitlog_directory": str(home / "commitlog"),
            "saved_caches_directory": str(home / "saved_caches"),
            "hints_directory": str(home / "hints"),
            "cdc_raw_directory": str(home / "cdc_raw"),
            "commitlog_sync": "batch",
            "commitlog_total_space": f"{megabytes(self.heap) // 2}MiB",
            "commitlog_segment_size": "32MiB",
            "paxos_variant": "v2",
            "concurrent_reads": 8,
            "concurrent_writes": 8,
            "memtable_heap_space": f"{megabytes(self.heap) // 4}MiB",
            "memtable_offheap_space": f"{megabytes(self.heap) // 4}MiB",
            "key_cache_size": "8MiB",
            "file_cache_size": "64MiB",
            "authenticator": "PasswordAuthenticator" if self.passwords else "AllowAllAuthenticator",
            "authorizer": "AllowAllAuthorizer",
        }
        return json.dumps(settings, indent=2)  # JSON is YAML


class LocalCluster:
    """The nodes of one folder; a file there lets any process find and stop them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._state = self.directory / "nodes.json"
        self.nodes: list[Node] = []
        if self._state.exists():
            self.nodes = [Node(**node) for node in json.loads(self._state.read_text())]

    @classmethod
    def create(
        cls,
        directory: Path,
        count: int = 3,
        *,
        port: int = 9042,
        storage_port: int = 7000,
        unsafe: bool = False,
        brief: bool = False,
        passwords: bool = False,
        heap: str = "512m",
    ) -> "LocalCluster":
        """Return the folder's nodes; create them on 127.0.0.1 and up if there are none.

        `unsafe` is for nodes whose data may be lost, `brief` for nodes that live for minutes. Nodes with
        `passwords` let in who logs in, at first `cassandra` with that password.
        """
        cluster = cls(directory)
        if not cluster.nodes:
            cluster.nodes = [
                Node(
                    str(cluster.directory / f"node{i}"),
                    f"127.0.0.{i}",
                    "127.0.0.1",
                    port,
                    storage_port,
                    unsafe=unsafe,
                    brief=brief,
                    passwords=passwords,
                    heap=heap,
                )
                for i in range(1, count + 1)
            ]
        return cluster

    def start(self) -> None:
        """Start the stopped nodes, one after the other: a node must be up before the next joins."""
        lib = jars()
        for node in self.nodes:
            if not node.alive():
                node.start(lib)
                self.save()

    def stop(self, *, erase: bool = False) -> None:
        """Stop every node; kill it if its data is erased anyway."""
        for node in reversed(self.nodes):
            if erase:
                node.kill(signal.SIGKILL)
            else:
                node.stop()
        self.save()
        if erase:
            shutil.rmtree(self.directory, ignore_errors=True)

    def save(self) -> None:
        """Save the nodes and their process ids."""
        self.directory.mkdir(parents=True, exist_ok=True)
        part = self._state.with_suffix(".part")
        part.write_text(json.dumps([asdict(node) for node in self.nodes]))
        part.rename(self._state)

    @property
    def contact_points(self) -> str:
        """Return `host:port,host:port`, for the store's URL."""
        return ",".join(f"{node.address}:{node.port}" for node in self.nodes)


def megabytes(heap: str) -> int:
    """Convert a heap size of java (512m, 2g) to megabytes."""
    return int(heap[:-1]) * {"m": 1, "g": 1024}[heap[-1].lower()]


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=["start", "stop", "status"])
    parser.add_argument("--nodes", type=int, default=3, help="how many (3)")
    parser.add_argument("--port", type=int, default=9042, help="for clients (9042)")
    parser.add_argument("--directory", type=Path, default=BUILD / "cluster", help="where their data is")
    parser.add_argument("--heap", default="512m", help="of each new node: 512m, 2g (512m)")
    parser.add_argument("--erase", action="store_true", help="with stop: delete the data")
    options = parser.parse_args(arguments)
    cluster = LocalCluster.create(options.directory, options.nodes, port=options.port, heap=options.heap)
    try:
        if options.command == "start":
            cluster.start()
            replicas = min(3, len(cluster.nodes))
            sys.stdout.write(
                f"ASTROLABE_STORE=cassandra://{cluster.contact_points}/astrolabe?dc={DATACENTER}&rf={replicas}\n"
            )
        elif options.command == "stop":
            cluster.stop(erase=options.erase)
    except NodeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.command == "status":
        for node in cluster.nodes:
            state = "runs" if node.alive() else "stopped"
            sys.stdout.write(f"{node.address}:{node.port} {state}, log {node.log}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
