"""The drivers of the port to providers, one for each wire."""
