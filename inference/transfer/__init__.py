"""Moves a project's objects here from another server: export over HTTP, import into any store."""
