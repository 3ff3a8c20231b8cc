"""Parts of a write that concern jobs: a row in the partition of the object of the same id."""

from dataclasses import replace

from persistence.cassandra.commits import Part, Rows
from persistence.cassandra.driver import Statement
from persistence.cassandra.rows import AT, KEY, Partition, RowKey, encode_json, job_row_key
from persistence.errors import LeaseLost
from persistence.store import Job, Reschedule

# `lease != -1` holds for every row, and where there is none: the change is made in any case.
PUT = f"""UPDATE objects SET due=?, lease=?, owner=?, payload=?, takeovers=?, id=?, writer=?
    WHERE {AT} IF lease != -1"""
CANCEL = f"DELETE FROM objects WHERE {AT} IF lease != -1"
HOLD = f"UPDATE objects SET checked=1 WHERE {AT} IF lease=? AND owner=?"
RENEW = f"UPDATE objects SET due=?, writer=? WHERE {AT} IF lease=? AND owner=?"
FINISH = f"DELETE FROM objects WHERE {AT} IF lease=? AND owner=?"
FREE = f"UPDATE objects SET due=?, owner='', payload=?, writer=? WHERE {AT} IF lease=? AND owner=?"
TAKE = f"UPDATE objects SET due=?, lease=?, owner=?, takeovers=?, writer=? WHERE {AT} IF lease=? AND due=?"
RESTORE = f"""INSERT INTO objects ({KEY}, due, lease, owner, payload, takeovers, id)
    VALUES (?,?,?,?,?,?,?,?,?,?,?,?) IF NOT EXISTS"""


class Lease(Part):
    """A condition: the job is held by its token and owner."""

    checks_only = True

    def __init__(self, job: Job) -> None:
        self.job = job
        self._row_key = job_row_key(job.kind)
        if not job.owner:
            raise lost(job)

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [(HOLD, self._condition(partition))]

    def row_key(self) -> RowKey:
        return self._row_key

    def _condition(self, partition: Partition) -> tuple[object, ...]:
        return (*partition, *self._row_key, self.job.token, self.job.owner)

    def on_refused(self, rows: Rows) -> None:
        row = rows.get(self._row_key)
        if row is None or (row["lease"], row["owner"]) != (self.job.token, self.job.owner):
            raise lost(self.job)


class LeaseChange(Lease):
    """A change of the job by the holder of its lease."""

    checks_only = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.row_keys = frozenset({self._row_key})


class FinishJob(LeaseChange):
    """Delete the job."""

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [(FINISH, self._condition(partition))]

    def was_applied(self, rows: Rows, token: str) -> bool | None:
        return False if self._row_key in rows else None

    def undo(self, partition: Partition) -> list[Statement]:
        job = self.job
        row = (job.due, job.token, job.owner, encode_json(job.payload), job.takeovers, job.id)
        return [(RESTORE, (*partition, *self._row_key, *row))]


class ReleaseJob(LeaseChange):
    """Release the job."""

    def __init__(self, operation: Reschedule) -> None:
        super().__init__(operation.job)
        self._operation = operation
        self._payload = encode_json(operation.job.payload if operation.payload is None else operation.payload)

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [(FREE, (self._operation.due, self._payload, token, *self._condition(partition)))]

    def undo(self, partition: Partition) -> list[Statement]:
        job = self.job
        change = (job.due, job.token, job.owner, job.takeovers, "undone", *partition, *self._row_key)
        return [(TAKE, (*change, job.token, self._operation.due))]


class RenewLease(LeaseChange):
    """Extend the lease."""

    def __init__(self, job: Job, due: float) -> None:
        super().__init__(job)
        self.renewed = replace(job, due=due)

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [(RENEW, (self.renewed.due, token, *self._condition(partition)))]


class TakeJob(Part):
    """Take a free job, unless another worker was faster."""

    def __init__(self, before: Job, after: Job) -> None:
        self._before, self.after = before, after
        self._row_key = job_row_key(before.kind)
        self.row_keys = frozenset({self._row_key})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        after, before = self.after, self._before
        change = (after.due, after.token, after.owner, after.takeovers, token, *partition, *self._row_key)
        return [(TAKE, (*change, before.token, before.due))]

    def on_refused(self, rows: Rows) -> None:
        """Raise LeaseLost: another worker was faster."""
        raise lost(self.after)


class PutJob(Part):
    """Insert or replace a job, also one that is held."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._payload = encode_json(job.payload)
        self._row_key = job_row_key(job.kind)
        self.row_keys = frozenset({self._row_key})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        job = self.job
        row = (job.due, job.token, job.owner, self._payload, job.takeovers, job.id, token)
        return [(PUT, (*row, *partition, *self._row_key))]


class CancelJob(Part):
    """Delete a job, also one that is held."""

    def was_applied(self, rows: Rows, token: str) -> None:
        """Return None: no row shows it, and applying it twice is harmless."""

    def __init__(self, kind: str) -> None:
        self._row_key = job_row_key(kind)
        self.row_keys = frozenset({self._row_key})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [(CANCEL, (*partition, *self._row_key))]


def lost(job: Job) -> LeaseLost:
    """Return the error, naming the job."""
    return LeaseLost(f"{job.kind} {job.id} is not held by {job.owner or 'nobody'} with token {job.token}")
