"""The driver's session as coroutines."""

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from cassandra import ConsistencyLevel, InvalidRequest, OperationTimedOut
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    ResultSet,
    Session,
)
from cassandra.cqltypes import BytesType, VectorType
from cassandra.policies import ConstantReconnectionPolicy
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement, tuple_factory

from persistence.cassandra import astra
from persistence.cassandra.errors import (
    CAUSES,
    KeyspaceMissing,
    OutcomeUnknown,
    describe,
    is_auth_failure,
    is_busy,
    map_error,
)
from persistence.cassandra.policies import AvoidFailedHosts, RetryIdempotent, speculative_execution
from persistence.cassandra.url import Target
from persistence.errors import CredentialsRefused, StoreUnavailable

Row = tuple[Any, ...]
Statement = tuple[str, Sequence[Any]]
Loop = asyncio.AbstractEventLoop
Arrival = tuple[asyncio.Future[Any], Any, BaseException | None]

CONNECT_ERRORS: tuple[type[Exception], ...] = (*CAUSES, ValueError)
TRANSACTION_TIMEOUT = 2.5
"""Seconds for one attempt at a lightweight transaction; its outcome is unknown after that."""


class Outcome(NamedTuple):
    """Whether a transaction was applied; if not, the current rows of its conditions."""

    applied: bool
    rows: list[dict[str, Any]]


class Connection:
    """A session of the driver for event loops: the one that opens it, `loop`, and any of other threads.

    The driver completes futures in its own thread; they reach a loop in batches, with one wake-up each.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sent = 0
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self.loop: Loop | None = None
        self._prepared: dict[str, PreparedStatement] = {}
        self._preparing: dict[tuple[Loop, str], asyncio.Task[PreparedStatement]] = {}
        self._lock = threading.Lock()
        self._arrived: dict[Loop, list[Arrival]] = {}
        self._policy = AvoidFailedHosts(target.datacenter)
        self._bundle: bytes | None = None

    # --- life ---

    async def open(self, keyspace: str | None = None) -> None:
        """Connect, trying for `target.wait` seconds; StoreUnavailable names hosts and last cause.

        StoreRefused at once for wrong credentials or a missing keyspace.
        """
        self.loop = asyncio.get_running_loop()
        if self.target.database and not self.target.bundle and self._bundle is None:
            self._bundle = await astra.DevOps(self.target).fetch_bundle()
        deadline = time.monotonic() + self.target.wait
        while True:
            try:
                await asyncio.to_thread(self._connect, keyspace)
            except KeyspaceMissing:
                await asyncio.to_thread(self._disconnect)
                raise
            except CONNECT_ERRORS as exc:
                await asyncio.to_thread(self._disconnect)
                message = f"cannot use Cassandra at {self.target.name}: {describe(exc)}"
                if is_auth_failure(exc):
                    raise CredentialsRefused(message) from exc
                if time.monotonic() > deadline:
                    raise StoreUnavailable(message) from exc
                await asyncio.sleep(0.5)
            else:
                return

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.to_thread(self._disconnect)

    def _connect(self, keyspace: str | None) -> None:
        target = self.target
        logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # what it logs reaches callers as errors
        profile = ExecutionProfile(
            load_balancing_policy=self._policy,
            retry_policy=RetryIdempotent(),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=target.timeout,
            row_factory=tuple_factory,
            speculative_execution_policy=speculative_execution(),
        )
        with self._endpoint() as endpoint:
            self._cluster = Cluster(
                **endpoint,
                execution_profiles={EXEC_PROFILE_DEFAULT: profile},
                reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
                connect_timeout=5.0,
                control_connection_timeout=5.0,
                idle_heartbeat_interval=3,
                idle_heartbeat_timeout=3,
                schema_event_refresh_window=-1,
                token_metadata_enabled=True,
                compression=False,
            )
        try:
            self._session = self._cluster.connect(keyspace)
        except (NoHostAvailable, InvalidRequest) as exc:
            known = self._cluster.metadata.keyspaces
            if keyspace is not None and known and keyspace not in known:
                raise KeyspaceMissing(
                    f"Cassandra at {target.name} has no keyspace {keyspace}: run `astrolabe migrate`"
                ) from exc
            raise
        self._session.default_fetch_size = 5000

    @contextmanager
    def _endpoint(self) -> Iterator[dict[str, Any]]:
        """Yield the cluster's address, credentials and certificates as the driver's arguments."""
        target = self.target
        auth = PlainTextAuthProvider(target.username, target.password or "") if target.username else None
        if not target.database:
            tls = _tls(target) if target.ssl else None
            yield {
                "contact_points": list(target.contact_points),
                "port": target.port,
                "auth_provider": auth,
                "ssl_context": tls,
            }
            return
        with nullcontext(target.bundle) if target.bundle else astra.private_file(self._bundle or b"") as path:
            cloud = {
                "secure_connect_bundle": path,
                "use_default_tempdir": True,
            }  # a bundle's folder may be read-only
            yield {"cloud": cloud, "auth_provider": auth}

    def _disconnect(self) -> None:
        cluster, self._cluster, self._session = self._cluster, None, None
        self._prepared.clear()
        if cluster is not None:
            cluster.shutdown()

    @property
    def session(self) -> Session:
        """The driver's session; StoreUnavailable before `open`."""
        if self._session is None:
            raise StoreUnavailable(f"not connected to Cassandra at {self.target.name}")
        return self._session

    def local_datacenter(self) -> str:
        """Return the datacenter of the node that was reached first."""
        cluster = self.session.cluster
        host = cluster.metadata.get_host(cluster.control_connection._connection.endpoint)  # noqa: SLF001
        return str(host.datacenter)

    # --- statements ---

    async def run(self, query: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run an idempotent statement and return its rows, one page at most."""
        prepared = self._prepared.get(query) or await self._prepare(query)
        rows: list[Row] = (await self._send(prepared.bind(parameters), None))[1]
        return rows

    async def run_batch(self, statements: Sequence[Statement]) -> None:
        """Run idempotent writes to one partition in one round trip, all of them or none."""
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        for query, parameters in statements:
            batch.add(await self._bound(query, parameters))
        await self._send(batch, None)

    async def compare_and_set(self, statements: Sequence[Statement]) -> Outcome:
        """Run a lightweight transaction on one partition; OutcomeUnknown if no answer came.

        Even one statement is sent as a batch: only then a refusal names its rows. It shows their keys and
        the columns of the conditions, or all columns if one condition is IF NOT EXISTS.
        """
        statement = BatchStatement(BatchType.UNLOGGED)
        for query, parameters in statements:
            statement.add(await self._bound(query, parameters))
        statement.is_idempotent = False
        response, rows = await self._send(statement, TRANSACTION_TIMEOUT)
        if rows[0][0]:
            return Outcome(applied=True, rows=[])
        columns = ResultSet(response, rows).column_names
        return Outcome(applied=False, rows=[dict(zip(columns, row, strict=True)) for row in rows])

    async def compare_and_set_surely(self, statements: Sequence[Statement]) -> Outcome:
        """Run a transaction that may be applied twice, again until its outcome is known."""
        deadline = time.monotonic() + self.target.timeout
        pause = 0.05
        while True:
            try:
                return await self.compare_and_set(statements)
            except OutcomeUnknown:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)

    async def scan(self, query: str, parameters: Sequence[Any], size: int) -> "Scan":
        """Run a statement and return its rows by pages of `size`."""
        bound = await self._bound(query, parameters)
        bound.fetch_size = size
        return Scan(self, bound)

    async def execute_ddl(self, query: str) -> None:
        """Run a statement that changes the schema, which takes seconds on a cluster."""
        if self.target.database:
            query = astra.supported(query)
        try:
            await asyncio.to_thread(self.session.execute, query, timeout=60.0)
        except CAUSES as exc:
            raise map_error(exc, self.target.name) from exc

    async def wait_for_schema_agreement(self) -> None:
        """Wait until all nodes have the same schema."""
        control = self.session.cluster.control_connection
        await asyncio.to_thread(control.wait_for_schema_agreement, wait_time=10.0)

    async def _bound(self, query: str, parameters: Sequence[Any]) -> BoundStatement:
        prepared = self._prepared.get(query) or await self._prepare(query)
        return prepared.bind(parameters)

    async def _prepare(self, query: str) -> PreparedStatement:
        """Prepare a statement once for all callers."""
        key = (asyncio.get_running_loop(), query)
        while True:
            task = self._preparing.get(key)
            if task is None:
                task = asyncio.ensure_future(asyncio.to_thread(self.session.prepare, query))
                self._preparing[key] = task
            try:
                prepared = await asyncio.shield(task)
            except CAUSES as exc:
                self._preparing.pop(key, None)
                if not is_busy(exc):
                    raise map_error(exc, self.target.name) from exc
                await asyncio.sleep(0.05)
            else:
                break
        self._preparing.pop(key, None)
        prepared.is_idempotent = True
        prepared.column_metadata = [as_bytes(column) for column in prepared.column_metadata]
        self._prepared[query] = prepared
        return prepared

    async def _send(self, statement: Any, limit: float | None, state: Any = None) -> tuple[Any, list[Row]]:
        """Send a statement; return the driver's future and the rows of one page."""
        self.sent += 1
        options = {} if limit is None else {"timeout": limit}
        deadline = time.monotonic() + self.target.timeout
        while True:
            try:
                return await self._attempt(statement, state, options)
            except CAUSES as exc:
                if isinstance(exc, OperationTimedOut) and exc.last_host is not None:
                    self._avoid(exc.last_host)
                if not is_busy(exc) or time.monotonic() > deadline:
                    raise map_error(exc, self.target.name, transaction=not statement.is_idempotent) from exc
                await asyncio.sleep(0.01)  # nothing was sent: sockets take no more just now

    async def _attempt(self, statement: Any, state: Any, options: dict[str, float]) -> tuple[Any, list[Row]]:
        session = self.session
        future: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        response = session.execute_async(statement, paging_state=state, **options)
        response.add_callbacks(
            callback=self._arrive, callback_args=(future,), errback=self._fail, errback_args=(future,)
        )
        return response, await future or []

    def _avoid(self, host: Any) -> None:
        for known in self._cluster.metadata.all_hosts() if self._cluster else ():
            if str(host) in {str(known), known.address, str(known.endpoint)}:
                self._policy.avoid(known)

    # --- from the driver's thread to the loop ---

    def _arrive(self, rows: Any, future: asyncio.Future[Any]) -> None:
        self._deliver(future, rows, None)

    def _fail(self, error: BaseException, future: asyncio.Future[Any]) -> None:
        self._deliver(future, None, error)

    def _deliver(self, future: asyncio.Future[Any], rows: Any, error: BaseException | None) -> None:
        loop = future.get_loop()
        with self._lock:
            arrived = self._arrived.get(loop)
            if arrived is not None:
                arrived.append((future, rows, error))
                return
            self._arrived[loop] = [(future, rows, error)]
        try:
            loop.call_soon_threadsafe(self._resolve_futures, loop)
        except RuntimeError:  # the loop is closed: nobody waits any longer
            self._arrived.pop(loop, None)

    def _resolve_futures(self, loop: Loop) -> None:
        with self._lock:
            arrived = self._arrived.pop(loop)
        for future, rows, error in arrived:
            if future.done():  # its caller was cancelled
                continue
            if error is None:
                future.set_result(rows)
            else:
                future.set_exception(error)


class Scan:
    """The rows of a statement, page by page: `async for rows in scan`."""

    def __init__(self, connection: Connection, statement: BoundStatement) -> None:
        self._connection = connection
        self._statement = statement
        self._state: bytes | None = None
        self._started = False

    def __aiter__(self) -> "Scan":
        return self

    async def __anext__(self) -> list[Row]:
        if self._started and self._state is None:
            raise StopAsyncIteration
        response, rows = await self._connection._send(self._statement, None, self._state)  # noqa: SLF001
        self._started, self._state = True, response._paging_state  # noqa: SLF001
        return rows


def as_bytes(column: Any) -> Any:
    """Let a vector parameter take packed numbers, which the driver would pack one by one."""
    return column._replace(type=BytesType) if issubclass(column.type, VectorType) else column


def _tls(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.ca)
    context.check_hostname = False  # nodes are known by address; the certificate must still be trusted
    return context


async def run_all(connection: Connection, statements: Iterable[Statement]) -> None:
    """Run idempotent writes to any partitions at once; raise the first error after all have ended."""
    done = await asyncio.gather(
        *(connection.run(query, parameters) for query, parameters in statements), return_exceptions=True
    )
    for result in done:
        if isinstance(result, BaseException):
            raise result
