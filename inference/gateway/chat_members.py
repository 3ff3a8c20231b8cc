"""Members of chat requests and answers that carry what only the Responses API, or not every provider, has."""

PHASE = "phase"
"""At an assistant's texts: the phase of their message."""

BREAKPOINT = "prompt_cache_breakpoint"
"""At a part: the end of a prefix that the provider is asked to cache."""

OUTPUT_SCHEMA = "output_schema"
"""At a function: the form of its output."""
