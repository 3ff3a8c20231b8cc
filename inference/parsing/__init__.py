"""Extract a file's text and split it into chunks, in a separate process.

`sandbox` is the server's side, `parser` the process; the process imports little else, to start fast.
"""
