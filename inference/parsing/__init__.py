"""A file's text and its chunks, made in a process of its own; the server's side of it is `sandbox`.

The process imports this package and little else, so that it starts in a moment.
"""
