"""How the server starts a Python process of its own, in a checkout and as an installed wheel alike."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the top-level packages."""

PYTHON_PATH = {"PYTHONPATH": str(ROOT)}
"""The environment in which such a process finds them."""


def python_module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module; it imports nothing from the current folder."""
    return [sys.executable, "-P", "-m", name, *arguments]
