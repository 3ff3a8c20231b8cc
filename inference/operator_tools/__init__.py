"""The operator's own tools: Python functions and HTTP endpoints that requests name by a label."""
