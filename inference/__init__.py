"""Models, runs, retrieval."""
