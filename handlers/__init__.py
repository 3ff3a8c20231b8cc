"""Handlers: one module per resource, one coroutine per operation.

`@operation("createThreadAndRun")` registers `create_thread_and_run(context, ...)`. Path and query
parameters arrive as keyword arguments, in snake_case as in the edition; absent ones are left out, so
give defaults. A JSON body and the fields of a form arrive as `body: JSON`, with files as `UploadedFile`.
All of them are validated against the edition before.
"""
