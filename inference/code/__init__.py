"""Runs a model's Python code in a sandbox that keeps its state between calls."""
