"""Build hook: puts the whole tree into the wheel under one folder, `astrolabe_server/`.

The packages have generic names (`handlers`, `spec`, ...), which must not land in anybody's site-packages.
An editable install does not need this: the checkout's root is on its path.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "astrolabe_server"
TREE = ("gunicorn.conf.py", "handlers", "inference", "persistence", "serving", "spec", "wsgi.py")


class WheelLayout(BuildHookInterface[Any]):
    """Hatchling's hook for the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Map each part of the tree to its place in the wheel."""
        if version != "editable":
            build_data["force_include"] = {part: f"{NAME}/{part}" for part in TREE}
            build_data["force_include"]["astrolabe_server.py"] = f"{NAME}/__init__.py"
