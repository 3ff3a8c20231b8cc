"""The driver's errors as the store's, in one table."""

from typing import NamedTuple

from cassandra import (
    AuthenticationFailed,
    CoordinationFailure,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    RequestExecutionException,
    RequestValidationException,
    Timeout,
    Unauthorized,
    Unavailable,
    UnresolvableContactPoints,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException, ProtocolError
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import (
    BadCredentials,
    ErrorMessage,
    InternalError,
    IsBootstrappingErrorMessage,
    NotSupportedError,
    OverloadedErrorMessage,
    PreparedQueryNotFound,
    SyntaxException,
)
from cassandra.segment import CrcException

from persistence.errors import DocumentTooLarge, StoreError, StoreRefused, StoreUnavailable


class OutcomeUnknown(StoreUnavailable):
    """A transaction was sent, and no answer says whether it was applied."""


class KeyspaceMissing(StoreRefused):
    """The cluster has no such keyspace, or the node that was asked does not know it yet."""


class Mapping(NamedTuple):
    """What an error of the driver means; `unsure` if a transaction may have been applied all the same."""

    cause: type[Exception]
    meaning: str
    unsure: bool = False
    effect: type[StoreError] = StoreUnavailable


ERRORS = (
    Mapping(OperationTimedOut, "no answer in time", unsure=True),
    Mapping(Timeout, "too few replicas answered in time", unsure=True),
    Mapping(Unavailable, "too few replicas are up"),
    Mapping(CoordinationFailure, "a replica failed", unsure=True),
    Mapping(AuthenticationFailed, "the credentials were not accepted"),
    Mapping(Unauthorized, "the role lacks a permission"),
    Mapping(RequestValidationException, "the request does not fit the schema that the node knows"),
    Mapping(RequestExecutionException, "the request failed", unsure=True),
    Mapping(UnresolvableContactPoints, "no host of the URL can be resolved"),
    Mapping(DriverException, "the driver failed", unsure=True),
    Mapping(NoHostAvailable, "no node could be asked"),
    Mapping(ConnectionBusy, "all connections are busy"),
    Mapping(NoConnectionsAvailable, "all connections are busy"),
    Mapping(ConnectionException, "the connection broke", unsure=True),
    Mapping(OverloadedErrorMessage, "the node is overloaded"),
    Mapping(IsBootstrappingErrorMessage, "the node is starting"),
    Mapping(BadCredentials, "the credentials were not accepted"),
    Mapping(PreparedQueryNotFound, "the node does not know the statement"),
    Mapping(SyntaxException, "a statement is wrong", effect=StoreError),
    Mapping(ErrorMessage, "the node failed", unsure=True),  # also codes that the driver does not know
    Mapping(ProtocolError, "the node speaks another protocol", unsure=True),
    Mapping(NotSupportedError, "the node speaks another protocol"),
    Mapping(InternalError, "the driver failed", unsure=True),
    Mapping(CrcException, "the connection is damaged", unsure=True),
    Mapping(OSError, "the network failed", unsure=True),
)
"""Every error that the driver can raise here; of the rows that fit one, the first counts."""

CAUSES = tuple(row.cause for row in ERRORS)


def map_error(error: BaseException, name: str, *, transaction: bool = False) -> StoreError:
    """Return the store's error for one of the driver's; `name` is the cluster's."""
    row = next(row for row in ERRORS if isinstance(error, row.cause))
    message = f"Cassandra at {name}: {row.meaning} ({describe(error)})"
    if isinstance(error, InvalidRequest) and "too large" in str(error).lower():
        return DocumentTooLarge(message)
    if transaction and row.unsure:
        return OutcomeUnknown(message)
    return row.effect(message)


def is_busy(error: BaseException) -> bool:
    """Return whether nothing was sent because every connection was busy."""
    errors = host_errors(error)
    return bool(errors) and all(isinstance(each, ConnectionBusy) for each in errors.values())


def is_auth_failure(error: BaseException) -> bool:
    """Return whether every node that answered refused the credentials."""
    errors = host_errors(error).values() or [error]
    return all(isinstance(each, AuthenticationFailed) for each in errors)


def describe(error: BaseException) -> str:
    """Return the error in one line; of the errors of many nodes the last."""
    if errors := host_errors(error):
        host, last = list(errors.items())[-1]
        return f"{host}: {last}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def host_errors(error: BaseException) -> dict[object, BaseException]:
    """Return the error of each node that was asked."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict):
        return error.errors
    return {}
