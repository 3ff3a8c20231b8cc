"""Batches: the requests of a file, answered one by one in the background, and their output files."""
