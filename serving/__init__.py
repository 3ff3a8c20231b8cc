"""HTTP: the application, its middleware, its processes."""
