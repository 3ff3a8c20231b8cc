"""One module per resource; a handler is a coroutine registered under its operationId.

`@operation("createThreadAndRun")` stands on `create_thread_and_run(context, ...)`. It takes the path's and
the query's parameters by name (snake_case as the spec has them; absent ones are left out, so give
defaults), a JSON body as `body: dict`, the fields of a multipart body as `body: dict` too, with files as
`Uploaded`. All were validated against the edition before.
"""
