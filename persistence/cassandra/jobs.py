"""Which jobs are due: an index by time, read from its first unsettled entry.

A job is a row in the partition of the object of the same id. The index `due` has an entry, in a partition
per kind and half minute, for each time at which a job may be free. Entries are not deleted (their table
expires). A poller reads the entries from its mark to now and looks each job up: it takes the job, or skips
it if it was deleted, or adds an entry for the job's new time, so that a renewal needs none. Then the entry is
settled. The mark follows the settled entries, but stays as far behind now as writers can be late.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from persistence.cassandra.commits import Committer, Transaction
from persistence.cassandra.driver import Connection
from persistence.cassandra.leases import RenewLease, TakeJob
from persistence.cassandra.rows import AT, Partition, decode_job, job_row_key
from persistence.cassandra.time_index import TimeIndexMarks
from persistence.errors import LeaseLost, StoreError
from persistence.store import Job

BUCKET_WIDTH = 30_000_000
"""Microseconds of a partition of the index."""

LATENESS = 15_000_000
"""Microseconds by which a writer's entry may come late: its clock's error and a request's time."""

MARK_INTERVAL = 30_000_000
"""Microseconds between two notes in the database of how far a kind is settled."""

READ = 500
AT_ONCE = 32

INSERT_ENTRY = "INSERT INTO due (kind, bucket, at, project, id) VALUES (?,?,?,?,?)"
ENTRIES = """SELECT at, project, id FROM due
    WHERE kind=? AND bucket=? AND (at, project, id)>(?,?,?) AND (at)<=(?) LIMIT 500"""
SELECT_JOB = f"SELECT due, lease, owner, payload, takeovers FROM objects WHERE {AT}"

Entry = tuple[int, str, str]


@dataclass
class Kind:
    """How far this process has settled the entries of a kind."""

    mark: int
    kept: int
    settled: set[Entry] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Request:
    """One call of `take_jobs`, and the jobs that it has taken."""

    kind: str
    state: Kind
    owner: str
    lease: float
    limit: int
    skipped: Collection[str]
    taken: list[Job] = field(default_factory=list)


class JobQueue:
    """Records when jobs may be free, takes those that are, renews leases."""

    def __init__(
        self, connection: Connection, committer: Committer, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = connection
        self._committer = committer
        self._clock = clock
        self._marks = TimeIndexMarks(connection)
        self._kinds: dict[str, Kind] = {}

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    async def add_entry(self, project: str, kind: str, id: str, due: float) -> None:
        """Record that a job may be free at `due`, or from now on if that is past."""
        now = self._now()
        await self._marks.ensure_started(kind, now - LATENESS)
        at = max(int(due * 1_000_000), now)
        await self._connection.run(INSERT_ENTRY, (kind, at // BUCKET_WIDTH, at, project, id))

    async def renew_job(self, job: Job, lease: float) -> Job:
        """Renew a lease with one transaction; LeaseLost if another token has the job."""
        part = RenewLease(job, self._clock() + lease)
        if part.renewed.due < job.due:  # earlier than the index knows
            await self.add_entry(job.project, job.kind, job.id, part.renewed.due)
        await self._committer.here().commit(Transaction(Partition(job.project, job.id, 0), [part]))
        return part.renewed

    # --- taking ---

    async def take_jobs(
        self, kind: str, owner: str, lease: float, limit: int, skipped: Collection[str] = ()
    ) -> list[Job]:
        """Take free jobs in the order of the index: one or two statements if none is due, four per job.

        After an error the jobs taken before it are returned: no other worker could take them until
        their leases end.
        """
        state = await self._state(kind)
        if state is None or limit < 1:
            return []
        request = Request(kind, state, owner, lease, limit, skipped)
        async with state.lock:
            now = self._now()
            left: int | None = None
            for bucket in range(state.mark // BUCKET_WIDTH, now // BUCKET_WIDTH + 1):
                try:
                    left = _earlier(left, await self._take_from(request, bucket, now))
                except StoreError:
                    if request.taken:
                        return request.taken
                    raise
                if left is not None and (not skipped or len(request.taken) >= limit):
                    break
            settled = now - LATENESS
            await self._advance(kind, state, settled if left is None else min(left - 1, settled))
        return request.taken

    async def _state(self, kind: str) -> Kind | None:
        """Return what this process knows of a kind; if it is far behind, ask what others settled."""
        state = self._kinds.get(kind)
        if state is not None and self._now() - state.mark < 4 * BUCKET_WIDTH:
            return state
        mark = await self._marks.first_unsettled(kind)
        if mark is None:  # nobody ever noted a job of it
            return state
        if state is None:
            state = self._kinds.setdefault(kind, Kind(mark, mark))
        elif mark > state.mark:
            state.mark = mark
        return state

    async def _take_from(self, request: Request, bucket: int, now: int) -> int | None:
        """Go through one partition of the index; return the time of its first unsettled entry."""
        left: int | None = None
        position: Entry = (request.state.mark, "\U0010ffff", "")
        while True:
            rows = await self._connection.run(ENTRIES, (request.kind, bucket, *position, now))
            unsettled = [entry for row in rows if (entry := tuple(row)) not in request.state.settled]
            left = _earlier(left, *(entry[0] for entry in unsettled if entry[1] in request.skipped))
            entries = [entry for entry in unsettled if entry[1] not in request.skipped]
            size = min(request.limit - len(request.taken), AT_ONCE)  # grows: many may be of jobs that ended
            while entries:
                if len(request.taken) >= request.limit:
                    return _earlier(left, entries[0][0])
                part, entries = entries[:size], entries[size:]
                left = _earlier(left, await self._settle(request, part))
                size = min(2 * size, AT_ONCE)
            if len(rows) < READ:
                return left
            position = tuple(rows[-1])

    async def _settle(self, request: Request, entries: Sequence[Entry]) -> int | None:
        """Look jobs up and take those for which there is room; return the first unsettled time."""
        kind, room = request.kind, request.limit - len(request.taken)
        found = await asyncio.gather(*(self._read_job(kind, entry) for entry in entries))
        chosen = [job for job in found if job is not None and job.due <= self._clock()][:room]
        takes = (self._take_one(job, request.owner, request.lease) for job in chosen)
        got = await asyncio.gather(*takes, return_exceptions=True)
        request.taken += [job for job in got if isinstance(job, Job)]
        for error in got:
            if isinstance(error, BaseException):
                raise error
        results = {(job.project, job.id): result for job, result in zip(chosen, got, strict=True)}
        left: int | None = None
        for entry, job in zip(entries, found, strict=True):
            if job is not None and job.due > self._clock():
                await self.add_entry(job.project, kind, job.id, job.due)
            elif self._may_still_arrive(entry) if job is None else results.get((job.project, job.id)) is None:
                left = _earlier(left, entry[0])
                continue
            request.state.settled.add(entry)
        return left

    def _may_still_arrive(self, entry: Entry) -> bool:
        """Return whether the job of an entry may be missing because its write is not finished."""
        return entry[0] > self._now() - LATENESS

    async def _read_job(self, kind: str, entry: Entry) -> Job | None:
        _, project, id = entry
        rows = await self._connection.run(SELECT_JOB, (*Partition(project, id, 0), *job_row_key(kind)))
        if not rows or rows[0][1] is None:
            return None
        return decode_job(project, kind, id, rows[0])

    async def _take_one(self, job: Job, owner: str, lease: float) -> Job | None:
        """Take one job, after an index entry for the end of its lease; None if another worker was faster."""
        after = job.taken(owner, self._clock(), lease)
        await self.add_entry(job.project, job.kind, job.id, after.due)
        try:
            await self._committer.commit(
                Transaction(Partition(job.project, job.id, 0), [TakeJob(job, after)])
            )
        except LeaseLost:
            return None
        return after

    async def _advance(self, kind: str, state: Kind, mark: int) -> None:
        if mark <= state.mark:
            return
        state.mark = mark
        state.settled = {entry for entry in state.settled if entry[0] > mark}
        if mark - state.kept > MARK_INTERVAL:
            state.kept = mark
            await self._marks.mark_settled(kind, mark)


def _earlier(*times: int | None) -> int | None:
    """Return the earliest time; None if there is none."""
    return min((time for time in times if time is not None), default=None)
