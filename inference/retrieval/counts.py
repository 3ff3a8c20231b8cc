"""The file_counts of vector stores and file batches."""

from collections.abc import Mapping

STATUSES = ("in_progress", "completed", "failed", "cancelled")


def empty_counts() -> dict[str, int]:
    """Return the file_counts of an empty store or batch."""
    return {**dict.fromkeys(STATUSES, 0), "total": 0}


def move_count(
    counts: Mapping[str, int], before: str | None, after: str | None, number: int = 1
) -> dict[str, int]:
    """Return the counts after `number` files moved from `before` (None: added) to `after` (None: removed)."""
    changed = dict(counts)
    if before is not None:
        changed[before] -= number
    if after is not None:
        changed[after] += number
    changed["total"] = sum(changed[status] for status in STATUSES)
    return changed
