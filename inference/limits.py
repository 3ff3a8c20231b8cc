"""The defaults of limits that are settings."""

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of one answer as JSON; a longer one ends there, as if the model had reached its own limit."""

MAX_TAKEOVERS = 3
"""Times that a job is taken over from a worker that was lost: the job may be what kills them.

Each takeover waits for a lease to run out, so a job that kills its workers ends after about 40 s.
"""
