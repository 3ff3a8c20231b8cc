"""The Assistants API's view of the engine: threads, messages, runs, steps and their events."""
