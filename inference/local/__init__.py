"""Small models in a process beside the workers, for a server without a provider (extra `local`)."""
