"""Tests of one engine each; what all must do is in tests/contract."""
