import inspect
import sys

import pytest
from cassandra import InvalidRequest, OperationTimedOut, Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy
from cassandra.protocol import ErrorMessage, OverloadedErrorMessage, SyntaxException

from persistence.cassandra.driver import Connection  # loads all of the driver that the store uses
from persistence.cassandra.errors import CAUSES, ERRORS, OutcomeUnknown, is_busy, map_error
from persistence.errors import DocumentTooLarge, StoreError, StoreUnavailable

NEVER = {
    "DependencyException",  # at import: an event loop's library is missing
    "NoMurmur3",  # only where the driver was built without its hash function
    "QueryExhausted",  # paging by ResultSet, which the store does not use
    "TraceUnavailable",  # tracing
    "UserTypeDoesNotExist",  # types of an application's own
    "GraphPagingException",  # DSE's graph queries
    "CQLEngineException",  # the driver's object mapper
}
"""What the driver raises only where the store does not go."""


def driver_errors() -> set[type[BaseException]]:
    """Return every exception class of the driver's loaded modules."""
    modules = [module for name, module in sys.modules.items() if name.startswith("cassandra")]
    classes = [each for module in modules for _, each in inspect.getmembers(module, inspect.isclass)]
    return {
        each
        for each in classes
        if issubclass(each, BaseException) and each.__module__.startswith("cassandra")
    }


def test_every_error_of_the_driver_has_a_row() -> None:
    assert Connection is not None
    missing = {each for each in driver_errors() if not issubclass(each, CAUSES)}
    assert {each.__name__ for each in missing} <= NEVER
    assert len(driver_errors()) > 40


def test_no_row_of_the_table_is_hidden_by_an_earlier_one() -> None:
    for number, row in enumerate(ERRORS):
        assert not any(issubclass(row.cause, earlier.cause) for earlier in ERRORS[:number]), row


@pytest.mark.parametrize(
    ("error", "transaction", "expected"),
    [
        (OperationTimedOut(), False, StoreUnavailable),
        (OperationTimedOut(), True, OutcomeUnknown),
        (ErrorMessage(0x1700, "CAS result is unknown", None), True, OutcomeUnknown),
        (OverloadedErrorMessage(0x1001, "too many requests", None), True, StoreUnavailable),
        (Unavailable("one of two"), True, StoreUnavailable),
        (SyntaxException(0x2000, "line 1", None), False, StoreError),
        (InvalidRequest("Batch too large"), True, DocumentTooLarge),
        (ConnectionResetError("reset"), True, OutcomeUnknown),
    ],
)
def test_an_error_is_mapped_by_what_it_says_of_the_write(
    error: Exception, transaction: bool, expected: type[StoreError]
) -> None:
    mapped = map_error(error, "node:9042", transaction=transaction)
    assert type(mapped) is expected
    assert str(mapped).startswith("Cassandra at node:9042: ")


def test_a_request_that_no_connection_took_can_be_sent_again() -> None:
    assert is_busy(NoHostAvailable("all busy", {"a": ConnectionBusy("busy"), "b": ConnectionBusy("busy")}))
    assert not is_busy(NoHostAvailable("down", {"a": ConnectionBusy("busy"), "b": OSError("refused")}))
    assert not is_busy(NoHostAvailable("nobody", {}))
