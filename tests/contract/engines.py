"""The engines that the contract is held against.

To plug one in, add its name and define a fixture `<name>_url` (in `tests/conftest.py`, or a plugin
that it loads) that gives the URL of a database which is this process's own while the test runs. It
need not be empty: each test works in a project, and with kinds of jobs, that nobody else uses.
"""

import pytest

ENGINES = [
    pytest.param("sqlite"),
    pytest.param("cassandra", marks=pytest.mark.cassandra),
]
