"""Tests: each name is a claim; the only fake is the model provider, in `provider`."""
