"""Where the command `astrolabe` starts: finds the packages beside this file, wherever that lies.

In a checkout that is the root. In a wheel the whole tree lies in one folder, site-packages/astrolabe_server,
whose `__init__` this file is, so that no package of the user's is shadowed by a generic name.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from serving.cli import main as command  # noqa: PLC0415 - importable only from here on

    command()
