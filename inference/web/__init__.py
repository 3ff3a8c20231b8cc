"""The web_search tool: a search service that the operator names, and the pages that it finds."""

from typing import Literal, get_args

Service = Literal["searxng", "brave", "tavily"]
SERVICES: tuple[Service, ...] = get_args(Service)
