"""Webhooks: events of a project's objects, sent to the URLs that the operator registered for it."""
