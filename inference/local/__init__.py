"""Small models in a process beside the workers, for a server without any provider (extra `local`)."""
