"""Types that the modules of spec share."""

from typing import Any

JSON = dict[str, Any]
