"""Types that every layer of the server shares."""

from typing import Any

JSON = dict[str, Any]
"""An object of the API's wire format."""
