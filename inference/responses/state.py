"""The names of a response's own state, in `RunState.extra`."""

INPUT = "input"
"""Its input items in stored form."""

SEGMENTS = "segments"
"""Where its context is."""

CONTINUED = "continued"
"""Whether another response of its chain continues it."""

OPTIONS = "options"
"""Fields of its request as chat completions name them."""

INCLUDE = "include"
"""The members of items that its request asks for."""

OBFUSCATION = "obfuscation"
"""Whether deltas are padded, so that their sizes tell nothing of their texts."""

BROUGHT = "brought"
"""Items of its context that bring tools."""

PLACES = "places"
"""How many output items were begun, also those that a lost worker left."""

COMPACTION = "compaction"
"""When its context is compacted: the fields of the engine's rule, None for never."""

MODERATION = "moderation"
"""The model that moderates its input and output, None for none."""

PROVIDER = "provider"
"""The provider that its model is asked at; only that one gets its thinking blocks back."""

APPROVED = "approved"
"""The requests for approval that its input approves: their calls run before its model is asked."""

WARM_UP = "warm_up"
"""Whether its model is not asked: the response is only there to be continued."""
