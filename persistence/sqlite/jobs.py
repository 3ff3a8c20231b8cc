"""Jobs in SQLite: one row each, found by kind and due time, held by token and owner."""

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import apsw
import orjson

from persistence.errors import LeaseLost
from persistence.sqlite.database import fetch_all, fetch_one
from persistence.sqlite.documents import encode
from persistence.store import Cancel, Enqueue, Finish, Hold, Job, Reschedule

DUE = "kind=? AND due<=? AND project NOT IN (SELECT value FROM json_each(?))"
HELD = "project=? AND kind=? AND id=? AND token=? AND owner=? AND owner<>''"


class Jobs:
    """Statements over jobs; all but `due` inside a transaction."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def due(self, connection: apsw.Connection, kind: str, skipped: Collection[str] = ()) -> bool:
        """Return whether any job of the kind is free: one step into an index, no lock."""
        sql = f"SELECT 1 FROM jobs WHERE {DUE} LIMIT 1"  # noqa: S608
        return fetch_one(connection, sql, (kind, self._clock(), encode([*skipped]))) is not None

    def take(
        self,
        connection: apsw.Connection,
        kind: str,
        owner: str,
        lease: float,
        limit: int,
        skipped: Collection[str] = (),
    ) -> list[Job]:
        """Take the jobs that have waited longest, each with a token greater than its last."""
        now = self._clock()
        sql = f"""SELECT project, id, due, token, owner, payload, takeovers FROM jobs
            WHERE {DUE} ORDER BY due LIMIT ?"""  # noqa: S608
        rows = fetch_all(connection, sql, (kind, now, encode([*skipped]), limit))
        taken = []
        for project, id, due, token, holder, payload, takeovers in rows:
            free = Job(project, kind, id, due, token, holder, orjson.loads(payload), takeovers)
            job = free.taken(owner, now, lease)
            connection.execute(
                "UPDATE jobs SET due=?, token=?, owner=?, takeovers=? WHERE project=? AND kind=? AND id=?",
                (job.due, job.token, owner, job.takeovers, project, kind, id),
            )
            taken.append(job)
        return taken

    def renew(self, connection: apsw.Connection, job: Job, lease: float) -> Job:
        """Hold a job for `lease` seconds from now."""
        due = self._clock() + lease
        connection.execute(f"UPDATE jobs SET due=? WHERE {HELD}", (due, *holder(job)))  # noqa: S608
        expect(connection, job)
        return replace(job, due=due)

    def enqueue(self, connection: apsw.Connection, operation: Enqueue) -> None:
        """Insert or replace a job."""
        job = operation.job
        key = (job.project, job.kind, job.id)
        row = (*key, job.due, job.token, job.owner, encode(job.payload), job.takeovers)
        connection.execute("INSERT OR REPLACE INTO jobs VALUES (?,?,?,?,?,?,?,?)", row)

    def hold(self, connection: apsw.Connection, operation: Hold) -> None:
        """Raise LeaseLost unless the job is held by its token."""
        sql = f"SELECT 1 FROM jobs WHERE {HELD}"  # noqa: S608
        if fetch_one(connection, sql, holder(operation.job)) is None:
            raise lost(operation.job)

    def finish(self, connection: apsw.Connection, operation: Finish) -> None:
        """Delete a job that is held."""
        connection.execute(f"DELETE FROM jobs WHERE {HELD}", holder(operation.job))  # noqa: S608
        expect(connection, operation.job)

    def reschedule(self, connection: apsw.Connection, operation: Reschedule) -> None:
        """Release a job that is held."""
        payload = None if operation.payload is None else encode(operation.payload)
        sql = f"UPDATE jobs SET owner='', due=?, payload=coalesce(?, payload) WHERE {HELD}"  # noqa: S608
        connection.execute(sql, (operation.due, payload, *holder(operation.job)))
        expect(connection, operation.job)

    def cancel(self, connection: apsw.Connection, operation: Cancel) -> None:
        """Delete a job, also one that is held."""
        sql = "DELETE FROM jobs WHERE project=? AND kind=? AND id=?"
        connection.execute(sql, (operation.project, operation.kind, operation.id))


def holder(job: Job) -> tuple[Any, ...]:
    """Return the bindings of HELD."""
    return job.project, job.kind, job.id, job.token, job.owner


def expect(connection: apsw.Connection, job: Job) -> None:
    """Raise LeaseLost if the last statement changed no row."""
    if connection.changes() == 0:
        raise lost(job)


def lost(job: Job) -> LeaseLost:
    """Return the error, naming the job."""
    return LeaseLost(f"{job.kind} {job.id} is not held by {job.owner or 'nobody'} with token {job.token}")
