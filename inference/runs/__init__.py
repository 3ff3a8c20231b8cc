"""Runs: the engine, its states, its events."""


class Runs:
    """Starts, continues, cancels and follows runs."""
