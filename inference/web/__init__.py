"""The web_search tool: a search service that the operator names, and the pages that it finds."""
